//go:build mips || mipsle || mips64 || mips64le

#include "textflag.h"

// func LoadLoad()
TEXT ·LoadLoad(SB), NOSPLIT, $0-0
	SYNC
	RET

// func StoreStore()
TEXT ·StoreStore(SB), NOSPLIT, $0-0
	SYNC
	RET
