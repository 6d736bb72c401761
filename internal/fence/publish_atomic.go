//go:build !amd64 || race

package fence

import "sync/atomic"

// Publish stores v after all earlier stores.
func Publish(p *uint64, v uint64) { atomic.StoreUint64(p, v) }
