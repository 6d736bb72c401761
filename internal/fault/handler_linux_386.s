//go:build !sharedseg_portable

#include "go_asm.h"
#include "textflag.h"

#define SYS_mmap2 192

// func handlerPC() uintptr
TEXT ·handlerPC(SB), NOSPLIT, $0-4
	MOVL $handler<>(SB), AX
	MOVL AX, ret+0(FP)
	RET

// handler is the handler of SIGBUS. The kernel, or a C handler that was
// installed in front of it, calls it as a C function with everything on the
// stack: 0(SP) is the restorer, 4(SP) the signal, 8(SP) the siginfo, 12(SP) the
// ucontext. A C function may change AX, CX, DX and the flags. BX, SI, DI and BP
// are saved, as a system call takes six arguments in registers. It ends with a
// jump to the former handler, which needs SP as it was on entry, hence NOFRAME.
// It is TOPFRAME, as no Go function calls it.
TEXT handler<>(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	PUSHL BX
	PUSHL SI
	PUSHL DI
	PUSHL BP
	MOVL  $·regions(SB), BX
	CMPL  20(SP), $const_sigBus
	JNE   former
	MOVL  24(SP), SI
	CMPL  siginfo_code(SI), $const_busAdrErr
	JNE   former

	// DX is the fault's address, DI an entry, CX the number of entries left.
	MOVL siginfo_addr(SI), DX
	MOVL table_used(BX), CX
	LEAL table_entries(BX), DI

next:
	SUBL  $1, CX
	JCS   former
	MOVL  entry_live(DI), AX // before lo and hi, which belong to this use if live is unchanged below
	TESTL $1, AX
	JEQ   other
	CMPL  DX, entry_lo(DI)
	JCS   other
	CMPL  DX, entry_hi(DI)
	JCC   other

	// The increment is a full barrier. If live is still the same after it,
	// leave waits until busy is lowered.
	LOCK
	INCL entry_busy(DI)
	CMPL AX, entry_live(DI)
	JEQ  ours
	LOCK
	DECL entry_busy(DI)

other:
	ADDL $entry__size, DI
	JMP  next

ours:
	// Set Lost before the zeros are mapped, so that they are not seen without
	// it. It is set by OR, as Closed may be set.
	LOCK
	ORL $const_Lost, entry_state(DI)

	// mmap2(start = address &^ (page - 1), hi - start, zeroProt, zeroFlags, -1,
	// 0). A system call changes only AX.
	PUSHL BX
	PUSHL DI
	MOVL  table_pageMask(BX), AX
	MOVL  DX, BX
	ANDL  AX, BX
	MOVL  entry_hi(DI), CX
	SUBL  BX, CX
	MOVL  $const_zeroProt, DX
	MOVL  $const_zeroFlags, SI
	MOVL  $-1, DI
	XORL  BP, BP
	MOVL  $SYS_mmap2, AX
	INT   $0x80
	POPL  DI
	POPL  BX
	LOCK
	DECL  entry_busy(DI)
	CMPL  AX, $0xfffff001 // an error is -4095 to -1
	JCC   former
	POPL  BP
	POPL  DI
	POPL  SI
	POPL  BX
	RET                   // to the restorer, which returns to the instruction that faulted

former:
	MOVL table_next(BX), AX
	POPL BP
	POPL DI
	POPL SI
	POPL BX
	JMP  AX
