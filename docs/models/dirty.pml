/*
 * A mutex whose owner died, and a file that is initialised again over it: internal/member (join.go, member.go,
 * admin.go), internal/mapping (mapping_file.go), internal/layout (Mark, Dirty, Init). A comment that quotes Go stands at
 * the statement that models it.
 *
 * There is one file, of a mutex that does not persist, and it has its name for as long as it exists. lifecycle.pml is
 * about other files of the name. The registry lock is one step, and so are Lock and Unlock, whose steps are in mutex.pml.
 * The kernel drops the locks of a process that dies.
 */

#ifndef HANDLES
#define HANDLES 2 /* at one time, 2 or 3 */
#endif
#ifndef USES
#define USES 5    /* openings, sweeps and removals in total */
#endif

bool exists;      /* the file */
bool mark;        /* it begins with the magic */
bool markDirty;   /* the mark's field */
bool ready;       /* the ready word */
byte word;        /* the mutex word, bits */
#define OWNED 1
#define INCONSISTENT 2
byte registry;    /* its holder: 1 + the handle */
byte attached;    /* how many handles hold a member's byte */
byte owner;       /* the handle that holds the mutex and its member's byte: 1 + the handle */

/* Only for the assertions. */
bool broken;      /* an owner died, and the guarded data has not been repaired since */
bool calm;        /* from now on no process dies */
byte uses;

#define OPEN 1
#define SWEEP 2
#define REMOVE 3

/* Between any two accesses to shared data a process continues or is killed. */
#define OR_DIE :: !calm -> goto dead; fi

/* layout.Dirty, of a file that no handle is attached to */
#ifdef MUTANT_MARK_COUNTS_WHEN_READY
#define DIRTY (mark && markDirty || mark && ready && word != 0)
#else
#define DIRTY (mark && !ready && markDirty || mark && ready && word != 0)
#endif

inline unlink() {
	exists = false; mark = false; markDirty = false; ready = false; word = 0
}

proctype handle(byte id) {
	byte role;
	bool any, dirty, died, in;
again:
	atomic {
		any = false; dirty = false; died = false; role = 0;
		if
		:: uses == USES -> goto done
		:: uses < USES -> uses++; role = OPEN
		:: uses < USES -> uses++; role = SWEEP
		:: uses < USES -> uses++; role = REMOVE
		fi
	};
	if /* Enter */
	:: atomic { registry == 0 && (exists || role == OPEN) -> registry = 1 + id; exists = true }
	:: !exists && role != OPEN -> goto again /* fs.ErrNotExist */
	OR_DIE;
	if
	:: role == REMOVE && attached == 0 -> goto unlinking
	:: role == REMOVE && attached != 0 -> goto leave
	:: else
	fi;

#ifdef MUTANT_SWEEP_READS_EARLY
	if
	:: role == SWEEP -> dirty = DIRTY
	:: role != SWEEP
	OR_DIE;
#endif
	if /* inspect, sweep: attached, err := m.obj.AnyHeld() */
	:: atomic { attached != 0 -> any = true; assert(ready) } /* a file in use is ready */
	:: attached == 0
	OR_DIE;
#ifdef MUTANT_SWEEP_READS_EARLY
	if
	:: any || role == SWEEP
	:: !any && role != SWEEP -> dirty = DIRTY
	OR_DIE;
#else
	if /* inspect: m.dirty, err = isDirty(m.obj); sweep: kept(buf[:n]) */
	:: any
	:: atomic { !any -> dirty = DIRTY;
		assert(!broken || dirty);   /* a death is not forgotten */
		assert(broken || !dirty) }  /* no death is invented */
	OR_DIE;
#endif
	if
	:: any && role == SWEEP -> goto leave
	:: any && role == OPEN -> goto attach
#ifndef MUTANT_SWEEP_UNLINKS
	:: !any && role == SWEEP && dirty -> goto leave /* sweep: kept(buf[:n]) */
	:: !any && role == SWEEP && !dirty -> goto unlinking
#else
	:: !any && role == SWEEP -> goto unlinking
#endif
	:: !any && role == OPEN
	fi;

	/* initialise */
#ifdef MUTANT_EMPTIES_FIRST
	if
	:: atomic { true -> mark = false; markDirty = false; ready = false; word = 0 }
	OR_DIE;
#endif
#ifndef MUTANT_TWO_WRITES
	if /* Reset: o.write(mark, 0), with the ready word and the field */
	:: atomic { true -> mark = true; ready = false; markDirty = dirty }
	OR_DIE;
#else
	if
	:: atomic { true -> mark = true; ready = false; markDirty = false }
	OR_DIE;
	if
	:: markDirty = dirty
	OR_DIE;
#endif
	if /* Reset: unix.Ftruncate(o.fd, int64(len(mark))) */
	:: word = 0
	OR_DIE;
	if /* Reset: o.Reserve(int64(len(mark)), size) */
	:: true
#ifndef MUTANT_FAILURE_UNLINKS
	:: dirty -> goto leave /* join: if !m.dirty { m.obj.Unlink() }, for lack of space */
	:: !dirty -> goto unlinking
#else
	:: goto unlinking
#endif
	OR_DIE;
#ifdef MUTANT_READY_BEFORE_WORD
	if
	:: ready = true
	OR_DIE;
#endif
	if /* Init: word32(mem, MutexOff).Store(InconsistentBit) */
	:: word = (dirty -> INCONSISTENT : 0)
	OR_DIE;
#ifndef MUTANT_READY_BEFORE_WORD
	if /* Init: word32(mem, readyOff).Store(Format) */
	:: ready = true
	OR_DIE;
#endif

attach:
	if /* claim: m.obj.Hold(slot); settle: m.obj.UnlockRegistry() */
	:: atomic { true -> attached++; in = true; registry = 0; any = false; dirty = false }
	OR_DIE;

	/* It is open. */
use:
	if /* Lock: free, or its owner is dead */
	:: atomic { owner == 0 ->
		died = word != 0;
		assert(!broken || died);   /* Lock notices that an owner died */
		assert(broken || !died);   /* Lock reports a dead owner only if one died */
		owner = 1 + id;
		word = OWNED | (died -> INCONSISTENT : 0) }
	:: goto close
	OR_DIE;
	if /* restore */
	:: died ->
		if
		:: broken = false
		:: atomic { true -> word = INCONSISTENT; owner = 0; goto close } /* Repair fails */
		OR_DIE;
		if
		:: word = word & OWNED
		OR_DIE
	:: !died
	fi;
	if
	:: atomic { true -> word = 0; owner = 0 }  /* Unlock */
	:: atomic { true -> broken = true }        /* Close with the mutex held */
	OR_DIE;

close:
	if /* leave: m.obj.LockRegistry(registryLimit) */
	:: atomic { registry == 0 -> registry = 1 + id }
	OR_DIE;
#ifdef MUTANT_WORD_READ_EARLY
	if
	:: dirty = word != 0
	OR_DIE;
#endif
	if /* unlinkIfLast: m.obj.Drop(m.ident.Slot()) */
	:: atomic { true -> attached--; in = false; owner = (owner == 1 + id -> 0 : owner) }
	OR_DIE;
	if /* unlinkIfLast: attached, err := m.obj.AnyHeld() */
	:: attached != 0 -> goto leave
	:: attached == 0
	OR_DIE;
#ifdef MUTANT_CLOSE_UNLINKS
	dirty = false;
#else
#ifndef MUTANT_WORD_READ_EARLY
	if /* unlinkIfLast: dirty, err := isDirty(m.obj) */
	:: dirty = DIRTY
	OR_DIE;
#endif
#endif
	if
	:: dirty -> goto leave
	:: !dirty -> goto unlinking
	fi;

unlinking:
	if /* Unlink */
	:: atomic { true ->
		assert(attached == 0);
		assert(!broken || role == REMOVE); /* only Remove unlinks a file that records a dead owner */
		broken = false;
		unlink() }
	OR_DIE;
leave:
	if
	:: atomic { true -> registry = 0; goto again }
	OR_DIE;

dead:
	atomic {
		broken = broken || owner == 1 + id;
		owner = (owner == 1 + id -> 0 : owner);
		attached = attached - in; in = false;
		registry = (registry == 1 + id -> 0 : registry);
		goto again
	};
done: skip
}

init {
	atomic {
		run handle(0);
		run handle(1);
#if HANDLES == 3
		run handle(2)
#endif
	};
	calm = true
}
