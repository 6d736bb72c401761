//go:build mips || mipsle

#include "textflag.h"

// func LoadLoad()
TEXT ·LoadLoad(SB), NOSPLIT, $0-0
	SYNC
	RET

// func StoreStore()
TEXT ·StoreStore(SB), NOSPLIT, $0-0
	SYNC
	RET
