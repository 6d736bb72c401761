package fence

import "sync/atomic"

// LoadLoad orders earlier loads before later loads.
func LoadLoad() { full() }

// StoreStore orders earlier stores before later stores.
func StoreStore() { full() }

// full relies on sync/atomic, which knows the barriers of ARMv5, v6 and v7.
func full() {
	var word uint32
	atomic.AddUint32(&word, 1)
}
