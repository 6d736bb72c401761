#include "textflag.h"

// func LoadLoad()
TEXT ·LoadLoad(SB), NOSPLIT, $0-0
	FENCE
	RET

// func StoreStore()
TEXT ·StoreStore(SB), NOSPLIT, $0-0
	FENCE
	RET
