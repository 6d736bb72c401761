//go:build unix && !aix && !linux

package mapping

// explain returns err. It does more only on Linux.
func (o *Object) explain(err error) error { return err }

// mappingsLimit is empty except on Linux.
const mappingsLimit = ""
