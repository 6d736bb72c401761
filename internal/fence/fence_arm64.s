#include "textflag.h"

// func LoadLoad()
TEXT ·LoadLoad(SB), NOSPLIT, $0-0
	DMB $0x9 // ISHLD
	RET

// func StoreStore()
TEXT ·StoreStore(SB), NOSPLIT, $0-0
	DMB $0xA // ISHST
	RET
