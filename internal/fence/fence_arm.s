#include "textflag.h"

// func LoadLoad()
TEXT ·LoadLoad(SB), NOSPLIT, $0-0
	DMB MB_ISH
	RET

// func StoreStore()
TEXT ·StoreStore(SB), NOSPLIT, $0-0
	DMB MB_ISHST
	RET
