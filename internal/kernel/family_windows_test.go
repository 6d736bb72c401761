package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/sharedseg/sharedseg/internal/proctest"
	"golang.org/x/sys/windows"
)

func TestMain(m *testing.M) {
	proctest.Main(m, map[string]func([]string) error{"holder": holder})
}

func family(t *testing.T, sddl string) *Family {
	t.Helper()
	f, err := NewFamily(`Local\`+proctest.Name(t), sddl)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func held(t *testing.T, f *Family, part string, want bool) {
	t.Helper()
	if got, err := f.Held(part); got != want || err != nil {
		t.Errorf("Held(%q) = %v, %v, want %v", part, got, err, want)
	}
}

func hold(t *testing.T, f *Family, part string, want bool) {
	t.Helper()
	if got, err := f.Hold(part); got != want || err != nil {
		t.Errorf("Hold(%q) = %v, %v, want %v", part, got, err, want)
	}
}

// holder holds the part a of the family args[0] until it is told to drop it.
func holder(args []string) error {
	f, err := NewFamily(args[0], "")
	if err != nil {
		return err
	}
	free, err := f.Hold("a")
	if err != nil {
		return err
	}
	fmt.Println("free:", free)
	proctest.Await()
	f.Drop("a")
	fmt.Println("dropped")
	proctest.Await()
	return nil
}

// TestHold checks that a held part excludes all others, even in the same
// process, until Drop or the holder's death.
func TestHold(t *testing.T) {
	f := family(t, "")
	held(t, f, "a", false)
	hold(t, f, "a", true)
	hold(t, f, "a", false)
	hold(t, f, "b", true)
	held(t, f, "a", true)
	other := proctest.Start(t, "holder", f.Base())
	other.Expect("free: false")
	f.Drop("a")
	f.Drop("a")
	held(t, f, "a", false)
	held(t, f, "b", true)
	f.Drop("b")

	drops := proctest.Start(t, "holder", f.Base())
	drops.Expect("free: true")
	held(t, f, "a", true)
	hold(t, f, "a", false)
	drops.Say("drop")
	drops.Expect("dropped")
	held(t, f, "a", false)

	dies := proctest.Start(t, "holder", f.Base())
	dies.Expect("free: true")
	h, err := f.OpenMutex("a")
	if err != nil {
		t.Fatal(err)
	}
	defer windows.CloseHandle(h) // another process's handle does not keep the dead alive
	held(t, f, "a", true)
	dies.Kill()
	held(t, f, "a", false)
	hold(t, f, "a", true)
	f.Drop("a")
}

func TestEvents(t *testing.T) {
	f := family(t, "")
	has := func(want bool) {
		t.Helper()
		if got, err := f.HasEvent("e"); got != want || err != nil {
			t.Errorf("HasEvent = %v, %v, want %v", got, err, want)
		}
	}
	has(false)
	f.Set("e") // no process has it open
	h, existed, err := f.Event("e", false)
	if existed || err != nil {
		t.Fatal(existed, err)
	}
	has(true)
	if e, _ := windows.WaitForSingleObject(h, 0); e != uint32(windows.WAIT_TIMEOUT) {
		t.Errorf("waiting for a new event: %#x", e)
	}
	f.Set("e")
	for _, want := range []uint32{windows.WAIT_OBJECT_0, uint32(windows.WAIT_TIMEOUT)} {
		if e, _ := windows.WaitForSingleObject(h, 0); e != want {
			t.Errorf("waiting for an event that was set once: %#x, want %#x", e, want)
		}
	}
	if _, err := f.Mutex("e"); err == nil || !strings.Contains(err.Error(), "another kind") {
		t.Errorf("creating a mutex with the event's name: %v", err)
	}
	windows.CloseHandle(h)
	has(false)
}

// TestSecurity checks that by default only the user has access.
func TestSecurity(t *testing.T) {
	if _, err := NewFamily(`Local\x`, "no SDDL"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("NewFamily of a bad security descriptor: %v", err)
	}
	user, err := User()
	if err != nil {
		t.Fatal(err)
	}
	if mine, err := Owns(user); !mine || err != nil {
		t.Errorf("Owns = %v, %v", mine, err)
	}
	everyone, err := windows.CreateWellKnownSid(windows.WinWorldSid)
	if err != nil {
		t.Fatal(err)
	}
	if mine, err := Owns(everyone); mine || err != nil {
		t.Errorf("Owns(everyone) = %v, %v", mine, err)
	}
	rights := regexp.MustCompile("A;;[^;]*;") // the system may write them differently
	for _, sddl := range []string{
		"",
		fmt.Sprintf("O:%[1]sD:P(A;;GA;;;%[1]s)(A;;GRGX;;;BU)", user),
	} {
		want := sddl
		if sddl == "" {
			want = fmt.Sprintf("O:%[1]sD:P(A;;GA;;;%[1]s)", user)
		}
		f := family(t, sddl)
		// The handle of f.Mutex would not have the right to read the
		// descriptor.
		h, err := windows.CreateMutex(f.Attributes(), false, f.name("m"))
		if err != nil {
			t.Fatal(err)
		}
		sd, err := windows.GetSecurityInfo(h, windows.SE_KERNEL_OBJECT, windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION)
		if err != nil {
			t.Fatal(err)
		}
		if rights.ReplaceAllString(sd.String(), "") != rights.ReplaceAllString(want, "") {
			t.Errorf("%q became %q, want %q", sddl, sd, want)
		}
		windows.CloseHandle(h)
	}
}

// TestOthersOwner checks that a descriptor's owner is ignored if the process
// may not assign it.
func TestOthersOwner(t *testing.T) {
	for sddl, owned := range map[string]bool{"O:SYD:P(A;;GA;;;WD)": false, "D:P(A;;GA;;;WD)": false, "": true} {
		owner, _, err := family(t, sddl).sa.SecurityDescriptor.Owner()
		if (owner != nil) != owned || err != nil {
			t.Errorf("%q: owner %v, %v", sddl, owner, err)
		}
	}
}

// TestDying checks that a holder counts as alive until its handles are closed,
// which is after its threads have ended, the keeper's included.
func TestDying(t *testing.T) {
	f := family(t, "")
	event, err := f.Show(eventOf("a")) // the event that a dying process still has open
	if err != nil {
		t.Fatal(err)
	}
	held(t, f, "a", false) // it never had a holder
	h, err := f.Mutex("a")
	if err != nil {
		t.Fatal(err)
	}
	defer windows.CloseHandle(h)
	held(t, f, "a", true)
	hold(t, f, "a", false)
	windows.CloseHandle(event)
	held(t, f, "a", false)
	hold(t, f, "a", true)
	f.Drop("a")
}

// TestKeeperRests checks that the keeper's thread ends when nothing is held.
func TestKeeperRests(t *testing.T) {
	f := family(t, "")
	for range 20 {
		hold(t, f, "a", true)
		f.Drop("a")
	}
	keeper.Lock()
	defer keeper.Unlock()
	if keeper.todo != nil || len(keeper.held) != 0 {
		t.Error("the keeper's thread still runs")
	}
}
