/*
 * Open, create, initialise, close, remove and sweep, with processes that die at any step: internal/mapping
 * (mapping_file.go, lock.go), internal/member (join.go, member.go, admin.go, sweep.go), internal/layout (Init). A comment
 * that quotes Go stands at the statement that models it.
 *
 * There is one name, and there are files, which are inodes. An inode is reused as soon as it has neither a name nor a
 * descriptor. The kernel drops the locks of a process that dies. A process that waits for the registry for five seconds
 * without success closes its descriptor, both in opening and in closing: to the others it has died. turns.pml has the
 * queue of waiters, and dirty.pml the record that a mutex's owner died.
 */

#ifndef HANDLES
#define HANDLES 2 /* at one time, 2 or 3 */
#endif
#ifndef USES
#define USES 4    /* openings, removals and sweeps in total */
#endif
#define FILES (HANDLES + 2) /* 1 …, one more than there are handles */

byte name;              /* the file that the path leads to, or 0 */
byte content[FILES];    /* the content of a file, bits; 0 is an empty file */
#define MARK 1          /* layout.Mark */
#define HEADER 2        /* everything else that an initialiser writes, including the flag persist */
#define READY 4         /* layout.Format in the ready word */
#define COMPLETE (MARK | HEADER | READY)
byte opens[FILES];      /* descriptors */
byte exclusive[FILES];  /* the holder of the registry byte: 1 + the handle */
byte shared[FILES];     /* how many handles share it */
byte attached[FILES];   /* how many handles hold a member's byte, or a share of the readers' */
bool persist;           /* the option of all creators */

/* Only for the assertions. */
byte in[HANDLES];         /* the file that a handle is attached to */
bool initialising[FILES]; /* by a live process */
bool removed[FILES];      /* by Remove */
bool stale[FILES];        /* all attached handles are gone, and no handle was opening or closing it then */
bool excused[FILES];      /* the last handle to leave it could not unlink it: it died, or is read-only */
bool calm;                /* from now on no process dies */
byte uses, over;

#define CREATE 1 /* OpenOrCreate */
#define ATTACH 2 /* AttachOnly, or a reader whose descriptor is writable */
#define READER 3 /* a reader whose descriptor is not */
#define REMOVE 4
#define SWEEP 5

/* Between any two accesses to shared data a process continues or is killed. */
#define OR_DIE :: !calm -> goto dead; fi

inline lock_registry() { /* LockRegistry: F_RDLCK if the file is open for reading only, else F_WRLCK */
	if
	:: atomic { role == READER && exclusive[f] == 0 -> shared[f]++; locks = true }
	:: atomic { role != READER && exclusive[f] == 0 && shared[f] == 0 -> exclusive[f] = 1 + id; locks = true }
	OR_DIE
}

inline unlock_registry() {
	if
	:: locks && role == READER -> shared[f]--
	:: locks && role != READER -> exclusive[f] = 0
	:: else
	fi;
	locks = false
}

inline close_file() {
	unlock_registry();
	opens[f]--;
	if
	:: opens[f] == 0 && name != f -> /* the inode is free */
		content[f] = 0; removed[f] = false; stale[f] = false; excused[f] = false
	:: else
	fi;
	f = 0; head = 0; any = false
}

#define ELSEWHERE(h) (in[h] != 0 && in[h] != f && !removed[in[h]])
#if HANDLES == 3
#define ALONE (!ELSEWHERE(0) && !ELSEWHERE(1) && !ELSEWHERE(2))
#else
#define ALONE (!ELSEWHERE(0) && !ELSEWHERE(1))
#endif

proctype handle(byte id) {
	byte f, role, head;
	bool locks, any;
again:
	atomic {
		if
		:: uses == USES -> role = 0; goto done
		:: uses < USES -> uses++; role = CREATE
		:: uses < USES -> uses++; role = ATTACH
		:: uses < USES -> uses++; role = READER
		:: uses < USES -> uses++; role = REMOVE
		:: uses < USES -> uses++; role = SWEEP
		fi
	};

enter:
	if /* Enter: o, err := Open(p, readOnly) */
	:: atomic { name != 0 -> f = name; opens[f]++ }
	:: name == 0 ->
		if /* Enter: if create && errors.Is(err, fs.ErrNotExist) { o, err = Create(p) } */
		:: role != CREATE -> goto again /* fs.ErrNotExist */
		:: atomic { role == CREATE && name == 0 -> /* O_CREAT|O_EXCL */
			f = 1;
			do
			:: opens[f] != 0 -> f++
			:: else -> break
			od;
			opens[f]++;
			name = f }
		:: role == CREATE && name != 0 -> goto enter /* fs.ErrExist */
		OR_DIE
	OR_DIE;
#ifndef MUTANT_OPEN_WITHOUT_REGISTRY
	if
	:: role == SWEEP ->
		if /* TryEnter: free, err := o.set(unix.F_WRLCK, layout.RegistryByte) */
		:: atomic { exclusive[f] == 0 && shared[f] == 0 -> exclusive[f] = 1 + id; locks = true }
#ifndef MUTANT_BUSY_SWEPT
		:: atomic { exclusive[f] != 0 || shared[f] != 0 -> opens[f]--; f = 0; goto again } /* busy: another handle has it open */
#else
		:: exclusive[f] != 0 || shared[f] != 0
#endif
		OR_DIE
	:: role != SWEEP -> lock_registry() /* Enter: o.lockRegistry(&budget) */
	fi;
#endif
#ifndef MUTANT_INODE_NOT_COMPARED
	if /* Enter: current, err = o.Current(); if current { return o, nil }; o.Close() */
	:: name == f
	:: atomic { name != f -> close_file(); goto enter }
	OR_DIE;
#endif
	if /* inspect: head, info, err := readHead(m.obj, buf[:]); remove: head, err := readMagic(obj) */
	:: head = content[f]
	OR_DIE;
	if
	:: role == REMOVE && (head & MARK) -> goto unlinking
	:: role == REMOVE && !(head & MARK) -> goto leave
	:: else
	fi;

#ifdef MUTANT_STALE_ATTACHED
	any = true;
#else
	if /* inspect: attached, err := m.obj.AnyHeld(); sweep: attached, err := obj.AnyHeld() */
	:: any = attached[f] != 0
	OR_DIE;
	assert((head & READY) || !any); /* inspect never returns ErrCorrupt */
#endif
	if /* inspect: if head == nil || !attached && !layout.Persists(head) { return nil, nil } */
	:: (head & READY) && (any || persist && (head & HEADER)) ->
		if
		:: role == SWEEP -> goto leave
		:: role != SWEEP -> goto attach
		:: role != SWEEP -> goto leave /* attach: s.Check(g) fails */
		fi
#ifdef MUTANT_READY_FIRST
	:: (head & READY) && !any && persist && !(head & HEADER) -> goto attach
#endif
	:: else
	fi;
	if
	:: role == ATTACH || role == READER -> goto leave /* fs.ErrNotExist */
	:: role == SWEEP && !(head & MARK) -> goto leave  /* sweep: layout.IsMarked(buf[:n]) */
	:: role == SWEEP && (head & MARK) -> goto unlinking
	:: role == CREATE
	fi;

	/* initialise: m.obj.Reset(…); g.Init(m.Mem) */
	atomic {
		assert(!initialising[f]);                     /* a file has one initialiser at a time */
		assert(attached[f] == 0);                     /* a file in use is not initialised again */
		assert(!(persist && content[f] == COMPLETE)); /* a file that persists is not initialised again */
		initialising[f] = true;
		head = 0; any = false
	};
	if /* Reset: o.write(mark, 0), with the ready word */
	:: atomic { true -> content[f] = content[f] & HEADER | MARK; stale[f] = false }
	OR_DIE;
	if /* Reset: unix.Ftruncate(o.fd, int64(len(mark))) */
	:: content[f] = MARK
	OR_DIE;
	if /* Reset: o.Reserve(int64(len(mark)), size) */
	:: true
	:: initialising[f] = false; goto unlinking /* join: m.obj.Unlink(), for lack of space */
	OR_DIE;
#ifdef MUTANT_READY_FIRST
	if
	:: content[f] = content[f] | READY
	OR_DIE;
#endif
	if /* Init: put(kindOff, int(g.Kind)) and so on */
	:: content[f] = content[f] | HEADER
	OR_DIE;
	if /* Init: word32(mem, readyOff).Store(Format) */
	:: atomic { true -> content[f] = content[f] | READY; initialising[f] = false }
	OR_DIE;

attach:
	if /* claim: m.obj.Hold(slot); joinReader: m.obj.HoldReader() */
	:: atomic { true ->
		assert(content[f] == COMPLETE); /* no handle attaches to a file that is not ready */
		assert(!stale[f]);              /* no handle attaches to a stale file */
		assert(ALONE);                  /* one name has no two files in use, unless it was removed */
		attached[f]++; in[id] = f; excused[f] = false;
		head = 0; any = false }
	OR_DIE;
	if /* settle: m.obj.UnlockRegistry() */
	:: atomic { true -> unlock_registry() }
	OR_DIE;

	/* It is open. */

#ifndef MUTANT_CLOSE_WITHOUT_REGISTRY
	lock_registry(); /* leave: m.obj.LockRegistry(registryLimit) */
#endif
	if /* unlinkIfLast: m.obj.Drop(m.ident.Slot()), m.obj.DropReader() */
	:: atomic { true -> attached[f]--; in[id] = 0;
		stale[f] = attached[f] == 0 && !persist && shared[f] <= 1;
		excused[f] = excused[f] || role == READER && attached[f] == 0 }
	OR_DIE;
	if /* unlinkIfLast: if m.Geometry.Persist { return nil } */
	:: persist -> goto leave
	:: else
	fi;
	if /* unlinkIfAlone: attached, err := obj.AnyHeld() */
	:: attached[f] != 0 -> goto leave
	:: attached[f] == 0
	OR_DIE;
#ifndef MUTANT_CLOSE_INODE_NOT_COMPARED
	if /* unlinkIfAlone: current, err := obj.Current() */
	:: name != f -> goto leave
	:: name == f
	OR_DIE;
#endif
#ifndef MUTANT_READER_UNLINKS
	if /* unlinkIfAlone: if obj.ReadOnly() { return nil } */
	:: role == READER -> goto leave
	:: else
	fi;
#endif

unlinking:
	if /* Unlink: unix.Unlink(o.path), whichever file has the name */
	:: atomic { true ->
		assert(name == f);                          /* no handle unlinks another's file */
		assert(role == REMOVE || attached[f] == 0); /* only Remove unlinks a file in use */
		assert(role == REMOVE || !persist || content[f] != COMPLETE); /* only Remove unlinks a file that persists */
		removed[f] = removed[f] || role == REMOVE;
		name = 0 }
	OR_DIE;

leave:
#ifndef MUTANT_REGISTRY_KEPT
	if /* settle, leave: m.obj.UnlockRegistry() */
	:: atomic { true -> unlock_registry() }
	OR_DIE;
	atomic { close_file(); goto again }; /* m.obj.Close() */
#else
	locks = false;
	atomic { close_file(); goto again };
#endif

dead:
	atomic {
		if
		:: f != 0 ->
			any = in[id] != 0;
			initialising[f] = initialising[f] && exclusive[f] != 1 + id;
			stale[f] = stale[f] || any && attached[f] == 1 && !persist && !locks && exclusive[f] == 0 && shared[f] == 0;
			excused[f] = excused[f] || attached[f] == any;
			attached[f] = attached[f] - any; in[id] = 0;
			close_file()
		:: else
		fi;
		goto again
	};
done:
	atomic {
		over++;
		assert(over < HANDLES || name == 0 || persist || excused[name]) /* the last handle to close removes the name */
	}
}

init {
	atomic {
		if
		:: persist = false
		:: persist = true
		fi;
		run handle(0);
		run handle(1);
#if HANDLES == 3
		run handle(2)
#endif
	};
	calm = true
}
