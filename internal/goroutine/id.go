//go:build amd64 || 386 || arm64 || riscv64

package goroutine

// ID identifies the calling goroutine. All calls by a goroutine return the same
// number, and no two goroutines that exist at the same time have the same one.
// On other architectures ID returns 0.
//
// The number is the address of the runtime's g, which the ABI of Go's assembler
// keeps in a register or in thread-local storage (go.dev/doc/asm). The runtime
// never moves a g. It reuses one for a new goroutine only after the old one has
// ended.
func ID() uintptr
