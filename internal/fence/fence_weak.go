//go:build !amd64 && !386 && !arm && !s390x && !wasm

package fence

// LoadLoad orders earlier loads before later loads.
func LoadLoad()

// StoreStore orders earlier stores before later stores.
func StoreStore()
