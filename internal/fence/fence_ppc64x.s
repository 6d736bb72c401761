//go:build ppc64 || ppc64le

#include "textflag.h"

// func LoadLoad()
TEXT ·LoadLoad(SB), NOSPLIT, $0-0
	LWSYNC
	RET

// func StoreStore()
TEXT ·StoreStore(SB), NOSPLIT, $0-0
	LWSYNC
	RET
