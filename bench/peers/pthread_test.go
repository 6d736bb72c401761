//go:build linux && cgo

package peers

import (
	"path/filepath"

	"github.com/sharedseg/sharedseg/bench/internal/harness"
	"github.com/sharedseg/sharedseg/bench/peers/internal/pthread"
)

func init() {
	locks["pthread"] = func(name string) (harness.Lock, error) {
		path := filepath.Join(shmDir, name)
		m, err := pthread.Open(path)
		return fileLock{m, path}, err
	}
}
