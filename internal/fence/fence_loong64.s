#include "textflag.h"

// func LoadLoad()
TEXT ·LoadLoad(SB), NOSPLIT, $0-0
	DBAR
	RET

// func StoreStore()
TEXT ·StoreStore(SB), NOSPLIT, $0-0
	DBAR
	RET
