// Package fence has the memory barriers that a sequence lock over shared memory
// needs and that sync/atomic does not give: a Go atomic load only orders what
// follows it and an atomic store only what precedes it (LDAR and STLR on
// arm64), so the copy between two of them may drift across either.
//
//   - LoadLoad stands between a reader's copy and its recheck: no load before it is done after a load behind it.
//   - StoreStore stands between a writer's announcement and its copy: no store before it is seen after a store
//     behind it.
//   - Publish is a store that is seen after all stores before it.
//
// amd64, 386 and s390x keep loads in order and stores in order by themselves
// (Intel SDM vol. 3A, 8.2.2; z/Architecture Principles of Operation,
// "Conceptual Sequence"), so there the functions are empty and only the
// compiler must keep the order, which it does around calls and atomic
// operations. Non-temporal stores, with which amd64's memmove copies
// StreamingSize bytes and more, are not in that order: before those an atomic
// store must stand, which is a full barrier; memmove itself ends them with one.
// Elsewhere they are one barrier instruction each, or on arm an atomic
// addition, which knows what the processor has.
//
// Acquire and Release tell the race detector of an order that comes from memory
// it cannot see. Without -race they are empty.
package fence

// StreamingSize is the number of bytes from which on a copy may use
// non-temporal stores.
const StreamingSize = 1 << 20
