package mapping

import (
	"errors"
	"io/fs"
	"math"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"golang.org/x/sys/unix"
)

// tree returns a file system with the given files.
func tree(files map[string]string) fs.FS {
	m := fstest.MapFS{}
	for name, text := range files {
		m[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return m
}

const (
	firstMount  = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
	cpuMount    = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
	secondMount = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
	hybridMount = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"

	unlimited = "9223372036854771712\n" // the value of version 1 with pages of 4096 bytes
)

// TestMemoryRooms checks what is read from /proc and the control groups, in all
// their formats.
func TestMemoryRooms(t *testing.T) {
	// left is a group's directory and the bytes that its limits leave.
	type left struct {
		Group string
		Free  int64
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  []left
	}{
		"nothing can be read": {},
		"no groups": {
			files: map[string]string{"proc/meminfo": "MemTotal:       24684084 kB\nMemFree:        21831000 kB\nMemAvailable:   24160512 kB\n"},
			want:  []left{{"", 24160512 << 10}},
		},
		"an old kernel": {
			files: map[string]string{"proc/meminfo": "MemTotal:       24684084 kB\nMemFree:        21831000 kB\n"},
		},
		"version 2": {
			files: map[string]string{
				"proc/self/cgroup":                                 "0::/app.slice/a.service\n",
				"proc/self/mountinfo":                              secondMount,
				"sys/fs/cgroup/app.slice/memory.max":               "max\n",
				"sys/fs/cgroup/app.slice/memory.high":              "max\n",
				"sys/fs/cgroup/app.slice/memory.stat":              "anon 5\ninactive_file 7\n",
				"sys/fs/cgroup/app.slice/a.service/x":              "",
				"sys/fs/cgroup/app.slice/memory.events":            "",
				"sys/fs/cgroup/app.slice/a.service/memory.max":     "67108864\n",
				"sys/fs/cgroup/app.slice/a.service/memory.high":    "max\n",
				"sys/fs/cgroup/app.slice/a.service/memory.current": "50000000\n",
				"sys/fs/cgroup/app.slice/a.service/memory.stat":    "anon 1\nfile 20000000\nactive_file 9\ninactive_file 10000000\n",
			},
			want: []left{{"/sys/fs/cgroup/app.slice/a.service", 67108864 - 40000000}},
		},
		"version 2, nested, the outer one is fuller": {
			files: map[string]string{
				"proc/self/cgroup":                     "0::/pod/app\n",
				"proc/self/mountinfo":                  secondMount,
				"sys/fs/cgroup/pod/memory.max":         "100000000\n",
				"sys/fs/cgroup/pod/memory.current":     "90000000\n",
				"sys/fs/cgroup/pod/memory.stat":        "inactive_file 0\n",
				"sys/fs/cgroup/pod/app/memory.max":     "50000000\n",
				"sys/fs/cgroup/pod/app/memory.current": "10000000\n",
				"sys/fs/cgroup/pod/app/memory.stat":    "inactive_file 0\n",
			},
			want: []left{{"/sys/fs/cgroup/pod/app", 40000000}, {"/sys/fs/cgroup/pod", 10000000}},
		},
		"version 2, in a namespace of its own": {
			files: map[string]string{
				"proc/self/cgroup":             "0::/\n",
				"proc/self/mountinfo":          "700 690 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n",
				"sys/fs/cgroup/memory.max":     "4096\n",
				"sys/fs/cgroup/memory.current": "8192\n", // the limit was lowered later
			},
			want: []left{{"/sys/fs/cgroup", 0}},
		},
		"version 2, high before max": {
			files: map[string]string{
				"proc/self/cgroup":             "0::/\n",
				"proc/self/mountinfo":          secondMount,
				"sys/fs/cgroup/memory.max":     "200\n",
				"sys/fs/cgroup/memory.high":    "100\n",
				"sys/fs/cgroup/memory.current": "30\n",
			},
			want: []left{{"/sys/fs/cgroup", 70}},
		},
		"version 1": {
			files: map[string]string{
				"proc/self/cgroup":                                     "8:pids:/\n4:memory:/user/job\n1:cpu:/\n",
				"proc/self/mountinfo":                                  cpuMount + firstMount,
				"sys/fs/cgroup/memory/memory.limit_in_bytes":           unlimited,
				"sys/fs/cgroup/memory/memory.usage_in_bytes":           "500\n",
				"sys/fs/cgroup/memory/user/memory.limit_in_bytes":      "1000\n",
				"sys/fs/cgroup/memory/user/memory.usage_in_bytes":      "500\n",
				"sys/fs/cgroup/memory/user/memory.stat":                "inactive_file 1\ntotal_inactive_file 100\n",
				"sys/fs/cgroup/memory/user/job/memory.limit_in_bytes":  "400\n",
				"sys/fs/cgroup/memory/user/job/memory.usage_in_bytes":  "300\n",
				"sys/fs/cgroup/memory/user/job/memory.stat":            "inactive_file 1\ntotal_inactive_file 0\n",
				"sys/fs/cgroup/memory/user/job/memory.memsw.unrelated": "",
			},
			want: []left{{"/sys/fs/cgroup/memory/user/job", 100}, {"/sys/fs/cgroup/memory/user", 600}},
		},
		"version 1, with another controller, in a container that sees its own group alone": {
			files: map[string]string{
				"proc/self/cgroup":                           "5:cpu,memory:/docker/4711\n",
				"proc/self/mountinfo":                        "40 31 0:32 /docker/4711 /sys/fs/cgroup/memory ro - cgroup cgroup rw,cpu,memory\n",
				"sys/fs/cgroup/memory/memory.limit_in_bytes": "1000\n",
				"sys/fs/cgroup/memory/memory.usage_in_bytes": "400\n",
			},
			want: []left{{"/sys/fs/cgroup/memory", 600}},
		},
		"version 1, in a container whose mounts do not show the path": {
			files: map[string]string{
				"proc/self/cgroup":                           "5:memory:/kubepods/pod1/c1\n",
				"proc/self/mountinfo":                        "40 31 0:32 /elsewhere /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
				"sys/fs/cgroup/memory/memory.limit_in_bytes": "1000\n",
				"sys/fs/cgroup/memory/memory.usage_in_bytes": "400\n",
			},
			want: []left{{"/sys/fs/cgroup/memory", 600}},
		},
		"hybrid: memory is of version 1": {
			files: map[string]string{
				"proc/self/cgroup":                                    "9:name=systemd:/\n4:memory:/job\n0::/user.slice\n",
				"proc/self/mountinfo":                                 firstMount + hybridMount,
				"sys/fs/cgroup/memory/job/memory.limit_in_bytes":      "1000\n",
				"sys/fs/cgroup/memory/job/memory.usage_in_bytes":      "1\n",
				"sys/fs/cgroup/unified/user.slice/cgroup.controllers": "\n",
			},
			want: []left{{"/sys/fs/cgroup/memory/job", 999}},
		},
		"a group outside of the namespace": {
			files: map[string]string{
				"proc/self/cgroup":                 "0::/../other\n",
				"proc/self/mountinfo":              secondMount,
				"sys/fs/cgroup/memory.max":         "1000\n",
				"sys/fs/cgroup/memory.current":     "1\n",
				"sys/fs/cgroup/other/memory.max":   "5\n",
				"sys/fs/cgroup/../other/unrelated": "",
			},
			want: []left{{"/sys/fs/cgroup", 999}},
		},
		"a mount point with a space, of several": {
			files: map[string]string{
				"proc/self/cgroup": "0::/a/b\n",
				"proc/self/mountinfo": "50 31 0:32 /a/b /inner rw - cgroup2 cgroup2 rw\n" +
					"51 31 0:32 / /my\\040groups rw - cgroup2 cgroup2 rw\n" +
					"52 31 0:32 /a /middle rw - cgroup2 cgroup2 rw\n",
				"my groups/a/b/memory.max":     "1000\n",
				"my groups/a/b/memory.current": "1\n",
			},
			want: []left{{"/my groups/a/b", 999}},
		},
		"nonsense": {
			files: map[string]string{
				"proc/meminfo":                 "MemAvailable:\nMemAvailable: 5 kB\n",
				"proc/self/cgroup":             "x\n::\n0::/a\n:memory:\n",
				"proc/self/mountinfo":          "\n - \n1 2 3 4 5 6 - \n1 2 3 4 5 6 - cgroup2 x y\n" + secondMount,
				"sys/fs/cgroup/a/memory.max":   "-5\n",
				"sys/fs/cgroup/memory.max":     "\n",
				"sys/fs/cgroup/memory.current": "x",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []left
			for _, r := range memoryRooms(tree(c.files), math.MaxInt64) {
				_, group, _ := strings.Cut(r.said, "memory control group ")
				got = append(got, left{strings.TrimSuffix(group, " may use"), r.free})
				if r.kept < 0 || r.kept > r.free || r.advice == "" {
					t.Errorf("%+v", r)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestMemoryKept checks that the memory that is kept for others grows with the
// free memory, so that a segment that fits still fits while it is reserved step
// by step.
func TestMemoryKept(t *testing.T) {
	last := int64(0)
	for _, c := range []struct{ free, kept int64 }{
		{0, 0}, {1 << 20, 256 << 10}, {12 << 20, 3 << 20}, {64 << 20, 16 << 20}, {512 << 20, 16 << 20}, {1 << 40, 1 << 35},
	} {
		if got := memoryKept(c.free); got != c.kept || got < last {
			t.Errorf("of %d bytes %d are kept, want %d", c.free, got, c.kept)
		}
		last = c.kept
	}
}

func TestFit(t *testing.T) {
	rooms := []room{
		{free: 100 << 30, said: "is free", advice: "free some"},
		{free: 22<<30 + 921<<20, kept: 1 << 30, said: "of memory is available", advice: "ask for less"},
	}
	for _, n := range []int64{0, 1, 21 << 30} {
		if err := fit(n, rooms); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	err := fit(3<<40, rooms)
	const want = "no space for the segment: it needs 3.0 TiB; 22.9 GiB of memory is available, of which 1.0 GiB is kept for others: " +
		"ask for less: no space left on device"
	if !errors.Is(err, ErrNoSpace) || err.Error() != want {
		t.Errorf("%v\nwant\n%s", err, want)
	}
	if err := fit(22<<30, rooms); !errors.Is(err, ErrNoSpace) {
		t.Errorf("fit in the memory that is kept for others: %v", err)
	}
	if err := fit(math.MaxInt64, nil); err != nil {
		t.Errorf("nothing known: %v", err)
	}
}

func TestSizeText(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 bytes", 1023: "1023 bytes", 1024: "1.0 KiB", 120 << 20: "120.0 MiB", 3 << 40: "3.0 TiB", math.MaxInt64: "8.0 EiB",
	} {
		if got := sizeText(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

// TestReserveAllOrNothing checks that a reservation that the system refuses
// halfway returns what it took.
func TestReserveAllOrNothing(t *testing.T) {
	if proctest.Emulated() {
		t.Skip("the limit would apply to the emulator")
	}
	dir := proctest.Mount(t, "tmpfs", "size=64m")
	o, err := Create(&Place{Name: "x", Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	before := proctest.Used(t, dir)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_FSIZE, &limit)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 20 << 20, Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	if err := o.Reserve(0, 32<<20); !errors.Is(err, ErrNoSpace) || !errors.Is(err, unix.EFBIG) {
		t.Error(err)
	}
	if info, err := o.Info(); err != nil || info.Size != 0 || proctest.Used(t, dir) != before {
		t.Errorf("after a failure: %+v, %v, %d bytes are in use, before %d", info, err, proctest.Used(t, dir), before)
	}
	if err := o.Reserve(0, 64<<20); !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "it needs 64.0 MiB; ") {
		t.Error(err)
	}
	if err := o.Reserve(0, 16<<20); err != nil {
		t.Error(err)
	}
	if info, err := o.Info(); err != nil || info.Size != 16<<20 {
		t.Errorf("%+v, %v", info, err)
	}
}
