//go:build !sharedseg_portable

#include "go_asm.h"
#include "textflag.h"

#define SYS_mmap 222

// func handlerPC() uintptr
TEXT ·handlerPC(SB), NOSPLIT, $0-8
	MOV $handler<>(SB), X10
	MOV X10, ret+0(FP)
	RET

// handler is the handler of SIGBUS. The kernel, or a C handler that was
// installed in front of it, calls it as a C function: X10 is the signal, X11
// the siginfo, X12 the ucontext, X1 the return address in the vDSO. It uses
// only registers that a C function may change, X5 to X7, X10 to X17 and X28 to
// X30, and no stack: a system call changes only X10. X31 is reserved for the
// assembler. It ends with a jump to the former handler, which needs X10, X11,
// X12, X1, X2, X3, X4, and X27 (g in Go code) as they were on entry, hence
// NOFRAME. It is TOPFRAME, as no Go function calls it.
TEXT handler<>(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOV  $·regions(SB), X13
	MOV  $const_sigBus, X5
	BNE  X10, X5, former
	MOVW siginfo_code(X11), X6
	MOV  $const_busAdrErr, X5
	BNE  X6, X5, former

	// X14 is the fault's address, X16 an entry, X15 the number of entries left.
	MOV   siginfo_addr(X11), X14
	MOVWU table_used(X13), X15
	FENCE
	ADD   $table_entries, X13, X16

next:
	BEQ   X15, X0, former
	SUB   $1, X15, X15
	MOVWU entry_live(X16), X6 // before lo and hi, which belong to this use if live is unchanged below
	FENCE
	AND   $1, X6, X7
	BEQ   X7, X0, other
	MOV   entry_lo(X16), X7
	BLTU  X14, X7, other
	MOV   entry_hi(X16), X7
	BGEU  X14, X7, other

	// If live is still the same after the increment and the barrier, leave
	// waits until busy is lowered.
	MOV     $1, X7
	ADD     $entry_busy, X16, X28
	AMOADDW X7, (X28), X0
	FENCE
	MOVWU   entry_live(X16), X29
	BEQ     X29, X6, ours
	MOV     $-1, X7
	AMOADDW X7, (X28), X0

other:
	ADD $entry__size, X16, X16
	JMP next

ours:
	// Set Lost before the zeros are mapped, so that they are not seen without
	// it. It is set by OR, as Closed may be set.
	MOV    $const_Lost, X7
	ADD    $entry_state, X16, X5
	AMOORW X7, (X5), X0
	FENCE

	// mmap(start = address &^ (page - 1), hi - start, zeroProt, zeroFlags, -1,
	// 0). X5, X6 and X7 keep the handler's arguments.
	MOV X10, X5
	MOV X11, X6
	MOV X12, X7
	MOV table_pageMask(X13), X29
	AND X29, X14, X10
	MOV entry_hi(X16), X11
	SUB X10, X11, X11
	MOV $const_zeroProt, X12
	MOV $const_zeroFlags, X13
	MOV $-1, X14
	MOV $0, X15
	MOV $SYS_mmap, X17
	ECALL
	MOV X10, X29
	MOV X5, X10
	MOV X6, X11
	MOV X7, X12

	MOV     $-1, X7
	AMOADDW X7, (X28), X0
	MOV     $-4095, X5
	BGEU    X29, X5, failed // an error is -4095 to -1
	RET                     // to the vDSO, which returns to the instruction that faulted

failed:
	MOV $·regions(SB), X13

former:
	MOV table_next(X13), X5
	JMP (X5)
