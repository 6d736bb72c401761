// Package fence has the memory barriers that a sequence lock over shared memory
// needs and that sync/atomic does not have.
//
// A Go atomic load orders only the accesses after it, and an atomic store only
// those before it (LDAR and STLR on arm64). So a copy between two of them may
// be reordered with either.
//
//   - LoadLoad goes between a reader's copy and its recheck: loads before it
//     are done before loads after it.
//   - StoreStore goes between a writer's announcement and its copy: stores
//     before it are seen before stores after it.
//   - Publish is a store that is seen after all earlier stores.
//
// amd64, 386 and s390x keep loads in order and stores in order (Intel SDM vol.
// 3A, 8.2.2; z/Architecture Principles of Operation, "Conceptual Sequence").
// There the functions are empty, and only the compiler must keep the order. It
// does so around calls and atomic operations. Elsewhere they are one barrier
// instruction each; on arm they are an atomic addition, which chooses the
// processor's barrier.
//
// Non-temporal stores are not in that order. With these, amd64's memmove copies
// StreamingSize bytes and more. An atomic store, which is a full barrier, must
// precede such a copy. The memmove itself ends it with one.
//
// Acquire and Release tell the race detector of an order that is established
// through memory that it does not see. Without -race they are empty.
//
// docs/design.md, "Publishing", says where the barriers stand and why.
// docs/models/publish.pml is a model of it.
package fence

// StreamingSize is the minimum size, in bytes, of a copy that may use
// non-temporal stores.
const StreamingSize = 1 << 20
