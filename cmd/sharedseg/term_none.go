//go:build !unix && !windows

package main

import (
	"errors"
	"os"
)

var ending = []os.Signal{os.Interrupt}

func terminalSize(*os.File) (width, height int, ok bool) { return 0, 0, false }

func allowSequences(*os.File) (restore func(), err error) { return nil, errors.ErrUnsupported }

func takeKeys(*os.File) (restore func(), err error) { return nil, errors.ErrUnsupported }
