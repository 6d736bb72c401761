//go:build !sharedseg_portable

#include "go_asm.h"
#include "textflag.h"

#define SYS_mmap 222

// func handlerPC() uintptr
TEXT ·handlerPC(SB), NOSPLIT, $0-8
	MOV $handler<>(SB), X10
	MOV X10, ret+0(FP)
	RET

// The handler of SIGBUS. It is called as a C function by the kernel, or by a C
// handler that was put in front of it: X10 signal, X11 siginfo, X12 ucontext,
// X1 the address in the vDSO that it returns to. It uses registers that a C
// function may change, X5 to X7, X10 to X17 and X28 to X30, and no stack: a
// system call changes X10 only. X31 is the assembler's. NOFRAME and the jump to
// the former handler go together: there, X10, X11, X12, X1 and X2 must be what
// they were here, and X27, g in Go code, X3 and X4. TOPFRAME, as no Go function
// called it.
TEXT handler<>(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOV  $·regions(SB), X13
	MOV  $const_sigBus, X5
	BNE  X10, X5, former
	MOVW siginfo_code(X11), X6
	MOV  $const_busAdrErr, X5
	BNE  X6, X5, former

	// X14 is the address, X16 the entry, X15 the number of those left.
	MOV   siginfo_addr(X11), X14
	MOVWU table_used(X13), X15
	FENCE
	ADD   $table_entries, X13, X16

next:
	BEQ   X15, X0, former
	SUB   $1, X15, X15
	MOVWU entry_live(X16), X6 // before lo and hi: they are this use's if it is the same below
	FENCE
	AND   $1, X6, X7
	BEQ   X7, X0, other
	MOV   entry_lo(X16), X7
	BLTU  X14, X7, other
	MOV   entry_hi(X16), X7
	BGEU  X14, X7, other

	// If live is still the same behind this and the barrier, leave waits until
	// busy is lowered.
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
	// Before the zeros, so that nobody can see them without it. It is an OR, as
	// Closed may be there.
	MOV    $const_Lost, X7
	ADD    $entry_state, X16, X5
	AMOORW X7, (X5), X0
	FENCE

	// mmap(address &^ (page - 1), hi - that, zeroProt, zeroFlags, -1, 0). X5,
	// X6 and X7 keep the arguments.
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
