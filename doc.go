// Package sharedseg is the root of a toolkit for memory that processes share.
//
// Begin with the package for what you share:
//
//	segment   one typed value: Store publishes it, Load copies the newest out
//	queue     messages, each to exactly one receiver, even when that dies
//	sync      package ipcsync: locks that survive the death of their owner
//	codec     what a value looks like as bytes
//
// This package has what they have in common: the errors, and the functions
// that look at a name without opening it, list names, and remove them.
//
//	for info, err := range sharedseg.List(nil) {
//		if err != nil {
//			return err
//		}
//		fmt.Println(info.Kind, info.Name, info.Version)
//	}
//
// cmd/sharedseg is a command that shows all of it, the values included.
package sharedseg
