//go:build !sharedseg_portable

#include "go_asm.h"
#include "textflag.h"

#define SYS_mmap 222

// func handlerPC() uintptr
TEXT ·handlerPC(SB), NOSPLIT, $0-8
	MOVD $handler<>(SB), R0
	MOVD R0, ret+0(FP)
	RET

// handler is the handler of SIGBUS. The kernel, or a C handler that was
// installed in front of it, calls it as a C function: R0 is the signal, R1 the
// siginfo, R2 the ucontext, R30 the restorer's address. It uses only registers
// that a C function may change, R0 to R15 and the flags, and no stack: a system
// call changes only R0. It ends with a jump to the former handler, which needs
// R0, R1, R2, R30, RSP, and R28 (g in Go code) as they were on entry, hence
// NOFRAME. It is TOPFRAME, as no Go function calls it.
TEXT handler<>(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVD $·regions(SB), R3
	CMPW $const_sigBus, R0
	BNE  former
	MOVW siginfo_code(R1), R4
	CMPW $const_busAdrErr, R4
	BNE  former

	// R5 is the fault's address, R7 an entry, R6 the number of entries left.
	MOVD  siginfo_addr(R1), R5
	ADD   $table_used, R3, R4
	LDARW (R4), R6
	ADD   $table_entries, R3, R7

next:
	CBZ   R6, former
	SUB   $1, R6, R6
	ADD   $entry_live, R7, R10
	LDARW (R10), R9              // before lo and hi, which belong to this use if live is unchanged below
	TBZ   $0, R9, other
	MOVD  entry_lo(R7), R11
	CMP   R11, R5
	BLO   other
	MOVD  entry_hi(R7), R11
	CMP   R11, R5
	BHS   other

	// If live is still the same after the increment and the barrier, leave
	// waits until busy is lowered.
	ADD $entry_busy, R7, R12

raise:
	LDAXRW (R12), R13
	ADDW   $1, R13, R13
	STLXRW R13, (R12), R14
	CBNZ   R14, raise
	DMB    $0xB              // ISH
	LDARW  (R10), R13
	CMPW   R13, R9
	BEQ    ours

lower:
	LDAXRW (R12), R13
	SUBW   $1, R13, R13
	STLXRW R13, (R12), R14
	CBNZ   R14, lower

other:
	ADD $entry__size, R7, R7
	B   next

ours:
	// Set Lost before the zeros are mapped, so that they are not seen without
	// it. It is set by OR, as Closed may be set.
	ADD $entry_state, R7, R14

lose:
	LDAXRW (R14), R13
	ORRW   $const_Lost, R13, R13
	STLXRW R13, (R14), R15
	CBNZ   R15, lose
	DMB    $0xB                  // ISH

	// mmap(start = address &^ (page - 1), hi - start, zeroProt, zeroFlags, -1,
	// 0). R9, R10 and R11 keep the handler's arguments.
	MOVD R0, R9
	MOVD R1, R10
	MOVD R2, R11
	MOVD table_pageMask(R3), R13
	AND  R13, R5, R0
	MOVD entry_hi(R7), R1
	SUB  R0, R1, R1
	MOVD $const_zeroProt, R2
	MOVD $const_zeroFlags, R3
	MOVD $-1, R4
	MOVD $0, R5
	MOVD $SYS_mmap, R8
	SVC
	MOVD R0, R13
	MOVD R9, R0
	MOVD R10, R1
	MOVD R11, R2

done:
	LDAXRW (R12), R14
	SUBW   $1, R14, R14
	STLXRW R14, (R12), R15
	CBNZ   R15, done
	CMN    $4095, R13      // an error is -4095 to -1
	BHS    failed
	RET                    // to the restorer, which returns to the instruction that faulted

failed:
	MOVD $·regions(SB), R3

former:
	MOVD table_next(R3), R4
	JMP  (R4)
