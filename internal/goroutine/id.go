//go:build amd64 || 386 || arm64 || riscv64

package goroutine

// ID identifies the calling goroutine: all calls of a goroutine return the
// same, and no two goroutines that exist at the same time have the same. It is
// 0 on machines without an ID.
//
// It is the address of the runtime's g, which the ABI of Go's assembler keeps
// in a register, or in thread-local storage (go.dev/doc/asm). The runtime never
// moves a g, but uses it again for a new goroutine when the old one has ended.
func ID() uintptr
