package mapping

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/bits"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// askMemoryFrom is the minimum number of bytes for which it is worth asking how
// much memory is free. Asking takes as long as reserving 1 MiB.
const askMemoryFrom = 1 << 20

const toDisk = "ask for less (Options.Capacity, Slots), free some, or set Options.Dir to a directory on a disk"

// mappingsLimit is advice on how to raise the number of mappings. A Reader's
// handle has three.
const mappingsLimit = " or the number of mappings (sysctl vm.max_map_count)"

// rooms returns the sources of memory for n more bytes of the file: its file
// system and, if that is in memory, the machine's memory and the memory control
// groups of the process. A source that cannot be queried is left out. The
// system may still refuse the memory.
func (o *Object) rooms(n int64) (rooms []room, err error) {
	var st unix.Statfs_t
	if err := again(func() error { return unix.Fstatfs(o.fd, &st) }); err != nil {
		return nil, nil
	}
	inMemory := false
	switch uint32(st.Type) {
	case unix.HUGETLBFS_MAGIC:
		return nil, notHugetlbfs(o.path)
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC:
		inMemory = true
	}
	if st.Blocks > 0 { // else it has no limit of its own
		unit := st.Frsize
		if unit <= 0 {
			unit = st.Bsize
		}
		dir := filepath.Dir(o.path)
		r := room{
			free: multiply(st.Bavail, uint64(unit)), said: "is free in " + dir,
			advice: "ask for less (Options.Capacity, Slots), free some there, or set Options.Dir to another place",
		}
		if inMemory {
			r.kept = r.free / 32
		}
		rooms = append(rooms, r)
	}
	if inMemory && n >= askMemoryFrom {
		rooms = append(rooms, memoryRooms(os.DirFS("/"), n)...)
	}
	return rooms, nil
}

func notHugetlbfs(path string) error {
	return fmt.Errorf("%w: %s is on a file system of huge pages (hugetlbfs), which supports neither write nor files of any length: "+
		"set Options.Dir to a directory of another file system", errors.ErrUnsupported, path)
}

// explain replaces the error of a write on a file system that does not support
// write.
func (o *Object) explain(err error) error {
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	var st unix.Statfs_t
	if e := again(func() error { return unix.Fstatfs(o.fd, &st) }); e == nil && uint32(st.Type) == unix.HUGETLBFS_MAGIC {
		return notHugetlbfs(o.path)
	}
	return err
}

// memoryRooms returns the machine's memory and that of the memory control
// groups, for n bytes. tree is the root of the file system.
func memoryRooms(tree fs.FS, n int64) []room {
	var rooms []room
	if free, ok := field(tree, "proc/meminfo", "MemAvailable:"); ok {
		free = multiply(uint64(free), 1<<10)
		rooms = append(rooms, room{free: free, kept: memoryKept(free), said: "of memory is available", advice: toDisk})
	}
	for _, g := range groupDirs(tree) {
		rooms = append(rooms, g.rooms(tree, n)...)
	}
	return rooms
}

// memoryKept returns how much of the free memory is kept for other processes,
// which need some to continue.
func memoryKept(free int64) int64 { return min(free/4, max(free/32, 16<<20)) }

// A groupDir is the directory of a memory control group of this process, or of
// a group that contains it.
type groupDir struct {
	path  string // in the tree
	first bool   // the group is of version 1
}

// rooms returns what a group's limits leave for n bytes. Inactive page cache
// counts as free, as the system gives it back on demand. Querying it takes
// long, so that is done only where it matters.
func (g *groupDir) rooms(tree fs.FS, n int64) []room {
	limits, usage, cache := []string{"memory.max", "memory.high"}, "memory.current", "inactive_file"
	if g.first {
		limits, usage, cache = []string{"memory.limit_in_bytes"}, "memory.usage_in_bytes", "total_inactive_file"
	}
	const unlimited = math.MaxInt64 / 2 // version 1 uses a large number for "unlimited"
	limit := int64(unlimited)
	for _, name := range limits {
		if n, ok := field(tree, path.Join(g.path, name), ""); ok {
			limit = min(limit, n)
		}
	}
	if limit == unlimited {
		return nil
	}
	used, ok := field(tree, path.Join(g.path, usage), "")
	if !ok {
		return nil
	}
	free := max(limit-used, 0)
	if n > free-memoryKept(free) {
		idle, _ := field(tree, path.Join(g.path, "memory.stat"), cache)
		free = max(limit-max(used-idle, 0), 0)
	}
	return []room{{
		free: free, kept: memoryKept(free),
		said:   fmt.Sprintf("is available of the %s that memory control group %s may use", sizeText(limit), "/"+g.path),
		advice: "ask for less (Options.Capacity, Slots), raise the limit of the group, or set Options.Dir to a directory on a disk",
	}}
}

// groupDirs returns the directories of this process's memory control groups, of
// version 1 and version 2, from its own group up to the root, as far as they
// are visible. See cgroups(7) and proc(5).
func groupDirs(tree fs.FS) []groupDir {
	groups, err := fs.ReadFile(tree, "proc/self/cgroup")
	if err != nil {
		return nil
	}
	mounts, err := fs.ReadFile(tree, "proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var dirs []groupDir
	for line := range strings.Lines(string(groups)) {
		// hierarchy-ID:controllers:path
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		first := hasWord(parts[1], "memory")
		if !first && (parts[0] != "0" || parts[1] != "") {
			continue
		}
		at, below, ok := groupMount(string(mounts), first, parts[2])
		for ok {
			dirs = append(dirs, groupDir{strings.TrimPrefix(path.Join(at, below), "/"), first})
			if below == "/" {
				break
			}
			below = path.Dir(below)
		}
	}
	return dirs
}

// groupMount returns where a hierarchy of control groups is mounted, and the
// path of a group below that. Of several mounts it takes the one that shows
// most of the group's ancestors. If none shows the group, as in a container
// that does not see its own path, it returns the root of what is mounted.
func groupMount(mounts string, first bool, group string) (at, below string, ok bool) {
	longest := -1
	for line := range strings.Lines(mounts) {
		// ID parent major:minor root mount-point options [tags…] - type source
		// options
		head, tail, found := strings.Cut(line, " - ")
		h, t := strings.Fields(head), strings.Fields(tail)
		if !found || len(h) < 6 || len(t) < 3 {
			continue
		}
		if first && (t[0] != "cgroup" || !hasWord(t[2], "memory")) || !first && t[0] != "cgroup2" {
			continue
		}
		root, point := unescape(h[3]), unescape(h[4])
		rest, inside := strings.CutPrefix(group, strings.TrimSuffix(root, "/"))
		if inside = inside && (rest == "" || rest[0] == '/') && !strings.Contains(rest, "/.."); inside {
			if len(rest) > longest {
				at, below, ok, longest = point, path.Join("/", rest), true, len(rest)
			}
		} else if !ok {
			at, below, ok = point, "/", true
		}
	}
	return at, below, ok
}

func hasWord(list, word string) bool {
	for w := range strings.SplitSeq(list, ",") {
		if w == word {
			return true
		}
	}
	return false
}

// unescape decodes white space and backslashes in mountinfo, such as \040.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// field returns the number that follows key at the beginning of a line of a
// file, or the first number of the file if key is "". ok is false if there is
// no number, as in "max".
func field(tree fs.FS, name, key string) (n int64, ok bool) {
	text, err := fs.ReadFile(tree, name)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if key != "" {
			if len(words) == 0 || words[0] != key {
				continue
			}
			words = words[1:]
		}
		if len(words) == 0 {
			return 0, false
		}
		v, err := strconv.ParseUint(words[0], 10, 64)
		return int64(min(v, math.MaxInt64)), err == nil
	}
	return 0, false
}

// multiply returns a*b, or the closest int64.
func multiply(a, b uint64) int64 {
	if high, low := bits.Mul64(a, b); high == 0 && low <= math.MaxInt64 {
		return int64(low)
	}
	return math.MaxInt64
}
