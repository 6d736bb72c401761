//go:build !sharedseg_portable

#include "go_asm.h"
#include "textflag.h"

#define SYS_mmap 9

// func handlerPC() uintptr
TEXT ·handlerPC(SB), NOSPLIT, $0-8
	LEAQ handler<>(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// handler is the handler of SIGBUS. The kernel, or a C handler that was
// installed in front of it, calls it as a C function: DI is the signal, SI the
// siginfo, DX the ucontext, and the address of the restorer is on the stack. It
// uses only registers that a C function may change, AX CX SI DI R8 to R11 and
// the flags, and 32 bytes of stack. It ends with a jump to the former handler,
// which needs DI, SI, DX and SP as they were on entry, hence NOFRAME. It is
// TOPFRAME, as no Go function calls it.
TEXT handler<>(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	LEAQ ·regions(SB), R8
	CMPL DI, $const_sigBus
	JNE  former
	CMPL siginfo_code(SI), $const_busAdrErr
	JNE  former

	// R9 is the fault's address, R10 an entry, R11 the number of entries left.
	MOVQ siginfo_addr(SI), R9
	MOVL table_used(R8), R11
	LEAQ table_entries(R8), R10

next:
	SUBL  $1, R11
	JCS   former
	MOVL  entry_live(R10), AX // before lo and hi, which belong to this use if live is unchanged below
	TESTL $1, AX
	JEQ   other
	CMPQ  R9, entry_lo(R10)
	JCS   other
	CMPQ  R9, entry_hi(R10)
	JCC   other

	// The increment is a full barrier. If live is still the same after it,
	// leave waits until busy is lowered.
	LOCK
	INCL entry_busy(R10)
	CMPL AX, entry_live(R10)
	JEQ  ours
	LOCK
	DECL entry_busy(R10)

other:
	ADDQ $entry__size, R10
	JMP  next

ours:
	// Set Lost before the zeros are mapped, so that they are not seen without
	// it. It is set by OR, as Closed may be set.
	LOCK
	ORL $const_Lost, entry_state(R10)

	// mmap(start = address &^ (page - 1), hi - start, zeroProt, zeroFlags, -1,
	// 0). A system call changes CX, R11 and AX.
	PUSHQ DI
	PUSHQ SI
	PUSHQ DX
	PUSHQ R10
	MOVQ  R9, DI
	ANDQ  table_pageMask(R8), DI
	MOVQ  entry_hi(R10), SI
	SUBQ  DI, SI
	MOVL  $const_zeroProt, DX
	MOVL  $const_zeroFlags, R10
	MOVQ  $-1, R8
	XORL  R9, R9
	MOVL  $SYS_mmap, AX
	SYSCALL
	POPQ  R10
	POPQ  DX
	POPQ  SI
	POPQ  DI
	LOCK
	DECL  entry_busy(R10)
	CMPQ  AX, $0xfffffffffffff001 // an error is -4095 to -1
	JCC   failed
	RET                           // to the restorer, which returns to the instruction that faulted

failed:
	LEAQ ·regions(SB), R8

former:
	MOVQ table_next(R8), AX
	JMP  AX
