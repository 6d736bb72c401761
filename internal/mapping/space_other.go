//go:build unix && !aix && !linux

package mapping

// explain is for Linux.
func (o *Object) explain(err error) error { return err }

// mappingsLimit is for Linux.
const mappingsLimit = ""
