//go:build !sharedseg_portable

#include "go_asm.h"
#include "textflag.h"

#define SYS_mmap2 192

// func handlerPC() uintptr
TEXT ·handlerPC(SB), NOSPLIT, $0-4
	MOVL $handler<>(SB), AX
	MOVL AX, ret+0(FP)
	RET

// The handler of SIGBUS. It is called as a C function by the kernel, or by a C
// handler that was put in front of it, with all on the stack: 0(SP) the
// restorer, 4(SP) signal, 8(SP) siginfo, 12(SP) ucontext. A C function may
// change AX, CX, DX and the flags. BX, SI, DI and BP are saved, as a system
// call takes six arguments in registers. NOFRAME and the jump to the former
// handler go together: there, SP must be what it was here. TOPFRAME, as no Go
// function called it.
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

	// DX is the address, DI the entry, CX the number of those left.
	MOVL siginfo_addr(SI), DX
	MOVL table_used(BX), CX
	LEAL table_entries(BX), DI

next:
	SUBL  $1, CX
	JCS   former
	MOVL  entry_live(DI), AX // before lo and hi: they are this use's if it is the same below
	TESTL $1, AX
	JEQ   other
	CMPL  DX, entry_lo(DI)
	JCS   other
	CMPL  DX, entry_hi(DI)
	JCC   other

	// If live is still the same behind this, which is a full barrier, leave
	// waits until busy is lowered.
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
	// Before the zeros, so that nobody can see them without it. It is an OR, as
	// Closed may be there.
	LOCK
	ORL $const_Lost, entry_state(DI)

	// mmap2(address &^ (page - 1), hi - that, zeroProt, zeroFlags, -1, 0). A
	// system call changes AX only.
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
