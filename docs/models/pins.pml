/*
 * Values in place and in order, over K slots, with processes that die at any step: segment/borrow.go, segment/loan.go,
 * segment/follow.go, segment/segment.go, sync/seqlock.go, internal/member. A comment that quotes Go stands at the
 * statement that models it.
 *
 * There are four parts. In three of them a writer steps over slots that a borrower has pinned: -DPART=BORROW has a
 * borrower that looks twice at what it borrowed, dies, and is followed by another in the same member slot; -DPART=COPY
 * has a borrower and a reader that copies; -DPART=FOLLOW has a borrower and a follower. -DPART=WAIT has two writers that
 * wait while every other slot is pinned, two borrowers that end that wait, and no versions.
 *
 * Memory is sequentially consistent here. The writers' mutex is a word that the death of its holder clears. So where
 * writers do not wait, one writer stands for all. A writer that gives up, as Discard does, or Put with a value that is
 * too large, has the same effect as one that dies: it leaves the mutex to the next.
 */

#define BORROW 1
#define COPY 2
#define FOLLOW 3
#define WAIT 4
#ifndef PART
#error which part: -DPART=…
#endif

#ifndef K
#define K 3        /* slots */
#endif
#ifndef STORES
#define STORES 4   /* begun in total, whether or not the writer lives to end them */
#endif
#ifndef BORROWS
#define BORROWS 2  /* begun in total */
#endif
#ifndef CLAIMS
#define CLAIMS 2   /* of member slots, in total */
#endif
#ifndef BORROWERS
#define BORROWERS 1 /* at one time, 1 or 2; 2 where writers wait */
#endif
#ifndef DEATHS
#define DEATHS 2   /* in total */
#endif
#ifndef GIVEUPS
#define GIVEUPS 1  /* contexts that end, where writers wait */
#endif

/* What the processes share. */
byte cBegin, cEnd;    /* Counters: the version being written, or written last, and the current one */
byte version[K];      /* in each slot's header: that of its value, or 0 */
byte previous[K];     /* the version before that */
byte low[K], high[K]; /* a value is two words, and whole if both are of one Store */
byte row[2];          /* of each member slot: the value slots that its holder has borrowed */
byte generation[2];   /* of each member slot */
bool held[2];         /* its byte is locked: the holder lives */
byte locked;          /* the writers' mutex: its holder */

/* Only for the assertions. */
byte stores, borrows, claims; /* begun */
byte deaths, giveups;
bool calm;                    /* in WAIT: from now on no process dies, and a sleep ends by its limit only where it must */

/* Between any two accesses to shared data a process continues or is killed. */
#if PART == WAIT
#define OR_DIE :: atomic { !calm && deaths < DEATHS -> deaths++; goto dead }; fi
#else
#define OR_DIE :: atomic { deaths < DEATHS -> deaths++; goto dead }; fi
#endif
#if PART == BORROW || PART == WAIT
#define OR_KILL OR_DIE
#else
#define OR_KILL fi /* another part is about borrowers that die */
#endif

#define SLOT(v) ((v) % K)
#define BIT(s) (1 << (s))
#define ALL (BIT(K) - 1)
#define LIVING(m) (held[m] -> row[m] : 0) /* what it has pinned */

#if PART == BORROW

/*
 * Only for an assertion: which slots a live member has had pinned at some time since the writer began to look, and one
 * more bit while it looks.
 */
byte seen;
#define SEE(m) ; seen = (seen != 0 -> seen | row[m] : 0)
#define END_LOOK ; seen = 0

/*
 * pinnedBy: the value slots that a living member has pinned, as a writer sees it. It remembers of each member slot the
 * generation of a holder that it knows to be dead.
 */
inline pinnedBy(m) {
	r = row[m]; /* page.Row(slot).Load() */
	if
	:: r == 0
	:: r != 0 ->
#ifndef MUTANT_GENERATION_LATE
		g = generation[m]; /* Words.Generation(slot).Load() */
#endif
		if
		:: g == dead_[m] -> r = 0
		:: g != dead_[m] ->
			if /* Held(slot): one system call */
			:: held[m]
#ifdef MUTANT_DEAD_COUNTS
			:: !held[m]
#else
			:: !held[m] -> r = 0;
#ifdef MUTANT_GENERATION_LATE
				g = generation[m];
#endif
				dead_[m] = g
#ifdef MUTANT_DEAD_ROW_CLEARED
				; row[m] = 0
#endif
#endif
			fi
		fi
	fi;
	atomic { mask = mask | r; r = 0; g = 0 }
}

#elif defined(MUTANT_DEAD_COUNTS)

inline pinnedBy(m) { mask = mask | row[m] }

#else

inline pinnedBy(m) { mask = mask | LIVING(m) }

#endif

#if PART != BORROW
#define SEE(m)
#define END_LOOK
#endif

#if PART == WAIT
/* Sleepers can have to wait for their limit, as a dead process wakes none. */
#define EXCUSE(w) excused[w] = excused[w] || asleep[w] || seeking[w]
#define EXCUSE_ALL(x) if :: x -> EXCUSE(0); EXCUSE(1) :: else fi
#endif

#if PART == WAIT
/* Signal, after a change that waiters must see and that has set due[me]. */
inline signal(me) {
	if
	:: atomic { flag == 0 -> due[me] = false }
	:: flag != 0 ->
		if
		:: atomic { flag != 0 -> flag = 0 }
		:: atomic { flag == 0 -> due[me] = false }
		OR_DIE;
		if
		:: due[me] -> wake(me)
		:: !due[me]
		fi
	OR_DIE
}

inline wake(me) {
	if
	:: seq = (seq + 1) & 7
	OR_DIE;
	if
	:: atomic { asleep[0] -> asleep[0] = false; woken[0] = true; excused[0] = false; due[me] = false }
	:: atomic { asleep[1] -> asleep[1] = false; woken[1] = true; excused[1] = false; due[me] = false }
	:: atomic { !asleep[0] && !asleep[1] -> due[me] = false }
	OR_DIE
}
#endif

/* member.claim: the member slot, its row, and then its generation. */
inline claim(m) {
#if PART == WAIT
	atomic { claims < CLAIMS && !held[m] -> claims++; held[m] = true; due[2 + m] = row[m] != 0 };
#else
	atomic { claims < CLAIMS && !held[m] -> claims++; held[m] = true SEE(m) };
#endif
#ifndef MUTANT_ROW_KEPT
#if PART == WAIT
	if /* clearRow, which wakes one */
	:: row[m] == 0
	:: row[m] != 0 -> row[m] = 0;
		signal(2 + m)
	OR_DIE;
#else
	if /* clearRow */
	:: row[m] = 0
	OR_KILL;
#endif
#endif
	if /* generation.Store(next) */
	:: generation[m]++
	OR_KILL
}

#if PART != WAIT

byte stored[24];      /* which Store ended each version, 0 if none did */
byte borrowed[2];     /* the slots that each live borrower has borrowed */

#define TAKEN(e) (mask | BIT(SLOT(e)))

proctype writer() {
	byte e, v, n, r, g, mask, dead_[2];
again:
	if /* store, storeSlow, Loan: s.turn.TryLock(), s.turn.Lock(ctx, errStoreWithin) */
	:: atomic { stores < STORES -> stores++; n = stores }
	:: atomic { stores == STORES -> goto done }
	fi;
#if PART == BORROW
	atomic { e = cEnd; seen = BIT(K) | LIVING(0) | LIVING(1) }; /* no other writer can change the versions meanwhile */
#else
	e = cEnd;
#endif
#ifdef MUTANT_BEGIN_GOES_BACK
	v = e + 1;
#else
	v = (cBegin > e -> cBegin : e + 1); /* WriteNext: max(l.Version()+1, begin) */
#endif
	pinnedBy(0);
#if BORROWERS == 2
	pinnedBy(1);
#endif
	if
#if PART == BORROW || BORROWERS == 2 || K == 2
	:: atomic { TAKEN(e) == ALL ->
#if PART == BORROW
		assert((mask & ~(seen | BIT(SLOT(e)))) == 0); /* a writer waits only for what live members have pinned */
#endif
		stores--; e = 0; v = 0; n = 0; mask = 0 END_LOOK };
		/* It waits while every other slot is pinned by a live member, and no longer: see WAIT. */
		atomic { (LIVING(0) | LIVING(1) | BIT(SLOT(cEnd))) != ALL -> goto again }
#endif
	:: atomic { TAKEN(e) != ALL ->
		do /* stepOver */
		:: TAKEN(e) & BIT(SLOT(v)) -> v++
		:: else -> break
		od; mask = 0 END_LOOK }
	fi;
#if !defined(MUTANT_HEADER_KEPT) && K > 2 && PART != COPY
	if /* stepOver, an announced version: slot.Unseal() */
	:: cBegin > e && v != cBegin -> version[SLOT(cBegin)] = 0
	:: else
	fi;
#endif
#if !defined(MUTANT_HEADER_NOT_CLEARED) && PART != COPY
	if /* slot.Unseal() */
	:: version[SLOT(v)] = 0
	OR_DIE;
#endif
	if /* WriteAnnounce: fence.Publish(&l.c[begin], version) */
	:: cBegin = v
	OR_DIE;
	if /* layout.Put(slot, v), s.payload.Put(slot, v); or the holder of the Loan */
	:: low[SLOT(v)] = n
	OR_DIE;
	if
	:: high[SLOT(v)] = n
	OR_DIE;
	assert(!((borrowed[0] | borrowed[1]) & BIT(SLOT(v)))); /* no writer writes to a borrowed slot */
#if PART != COPY
	if /* slot.Seal: the length and the previous version … */
	:: previous[SLOT(v)] = e
	OR_DIE;
	if /* … and then the version */
	:: version[SLOT(v)] = v
	OR_DIE;
#endif
	if /* WriteEnd: fence.Publish(&l.c[end], version) */
	:: atomic { true -> cEnd = v; stored[v] = n }
	OR_DIE;
	atomic { e = 0; v = 0; n = 0; goto again };
dead:
	atomic { e = 0; v = 0; n = 0; dead_[0] = 0; dead_[1] = 0; goto again };
done:
	skip
}

proctype borrower(byte m) {
	byte e, a, kept;
claiming:
	if
	:: claim(m)
	:: claims == CLAIMS -> goto done
	fi;
again:
	if
	:: atomic { borrows < BORROWS && cEnd != 0 -> borrows++; e = cEnd } /* pin: r.seq.ReadBegin() */
	:: borrows == BORROWS -> goto close
	OR_KILL;
	if /* row.Or(1 << i) */
	:: atomic { true -> row[m] = row[m] | BIT(SLOT(e)) SEE(m) }
	OR_KILL;
#ifdef MUTANT_NO_SECOND_LOOK
	borrowed[m] = borrowed[m] | BIT(SLOT(e));
#else
	if /* r.seq.Version() == version */
	:: cEnd != e -> goto release
	:: atomic { cEnd == e -> borrowed[m] = borrowed[m] | BIT(SLOT(e)) }
	OR_KILL;
#endif
#if PART == BORROW
	a = low[SLOT(e)];
	assert(a == stored[e] && high[SLOT(e)] == a); /* a borrowed value is one stored value, whole */
	if
	:: true
	:: atomic { true -> kept = kept | BIT(SLOT(e)); e = 0; a = 0; goto again } /* until Close; it borrows others */
	OR_DIE;
	atomic { assert(low[SLOT(e)] == a && high[SLOT(e)] == a); /* a borrowed value does not change */
		a = 0 };
#ifdef MUTANT_NOT_COUNTED
	goto clear;
#endif
#endif
release:
	if /* unpin: the handle counts its pins of a slot */
	:: atomic { kept & BIT(SLOT(e)) -> e = 0; goto again }
	:: atomic { !(kept & BIT(SLOT(e))) -> borrowed[m] = borrowed[m] & ~BIT(SLOT(e)) }
	OR_KILL;
clear:
	if /* row.And(^(1 << i)) */
	:: row[m] = row[m] & ~BIT(SLOT(e))
	OR_KILL;
	atomic { e = 0; goto again };
close:
	assert(row[m] == borrowed[m]); /* a row shows exactly what its holder has borrowed */
	borrowed[m] = 0; /* Leave: the memory is retired, … */
	if /* … then its row is cleared, */
	:: row[m] = 0
	OR_KILL;
dead: /* and then the member slot is released, as by a death */
	atomic { held[m] = false; borrowed[m] = 0; kept = 0; e = 0; a = 0; goto claiming };
done:
	skip
}

#if PART == COPY

#ifdef MUTANT_BEGIN_ALONE
#define RETRY(v) (cBegin - (v) >= K)
#else
#define RETRY(v) (cBegin - (v) >= K && cEnd != (v)) /* ReadRetry */
#endif

proctype reader() {
	byte e, a, b;
	e = cEnd; /* load, tryRead: r.seq.ReadBegin() */
	if
	:: e == 0
	:: e != 0 ->
		a = low[SLOT(e)];
		b = high[SLOT(e)];
		if /* ReadRetry: two loads */
		:: cBegin - e < K -> assert(a == b && a == stored[e])      /* a value is not torn */
		:: cBegin - e >= K ->
#ifdef MUTANT_BEGIN_ALONE
			assert(cEnd != e)                                  /* read never returns errCounters */
#else
			if
			:: cEnd == e -> assert(a == b && a == stored[e])   /* a value is not torn */
			:: cEnd != e
			fi
#endif
		fi
	fi
}

#elif PART == FOLLOW

proctype follower() {
	byte after, e, n, p, a, b;
next:
	if /* r.wait(ctx, after) */
	:: atomic { cEnd > after -> e = cEnd; n = (e >= after + K -> e + 1 - K : after + 1) }
	:: atomic { stores == STORES && cEnd == after && _nr_pr == 2 -> goto done } /* there will be no other version */
	fi;
look:
	if
	:: atomic { n > e -> assert(after == e || cEnd != e); /* follow never returns errCounters */
		e = 0; n = 0; goto next }
	:: n <= e
	fi;
	if /* slot.Version() */
	:: version[SLOT(n)] != n -> goto over
	:: version[SLOT(n)] == n
	fi;
	p = previous[SLOT(n)];
	a = low[SLOT(n)];
	b = high[SLOT(n)];
	if /* slot.Version(), again */
	:: atomic { version[SLOT(n)] == n ->
		assert(a == b && a == stored[n]); /* Follow returns the value of the version, whole */
#ifdef MUTANT_NUMBER_ALONE
		p = after;
#endif
		assert(p <= after || stored[p] != 0); /* a version reported as missed was published */
		after++;
		do
		:: after < n -> assert(after <= p || stored[after] == 0); /* no version is left out without a report */
			after++
		:: else -> break
		od }
	:: version[SLOT(n)] != n
	fi;
over:
	atomic { n++; p = 0; a = 0; b = 0; goto look };
done:
	skip
}

#endif

init {
	atomic {
#if PART == COPY
		run reader();
#elif PART == FOLLOW
		run follower();
#endif
		run writer();
#if BORROWERS == 2
		run borrower(1);
#endif
		run borrower(0)
	}
}

#else

byte seq;             /* EventCount of writers that wait for a slot */
bool flag;
byte current;         /* the slot of the current version */
bool asleep[2];

/* Only for the assertions. */
bool seeking[2];      /* a live writer wants a slot */
bool due[4];          /* a live process has made a change and has not signalled since */
bool woken[2];        /* a live writer was woken, and has not looked and stopped since */
bool excused[2];      /* since this writer set the flag, a process died that was about to wake one */

#define DEAD(m) (!held[m] && row[m] != 0)

proctype writer(byte id) {
	byte s, mask;
	bool set;
again:
	if
	:: atomic { locked == 0 && stores < STORES -> locked = 1 + id; seeking[id] = true }
	:: atomic { locked == 0 && stores == STORES -> goto stop }
	fi;
	pinnedBy(0);
	pinnedBy(1);
	if
	:: atomic { (mask | BIT(current)) != ALL -> stores++;
		do /* stepOver: a slot, any */
		:: (mask | BIT(current)) & BIT(s) -> s++
		:: else -> break
		od;
		mask = 0 }
	:: atomic { (mask | BIT(current)) == ALL -> mask = 0; locked = 0; goto wait }
	OR_DIE;
	if
	:: atomic { true -> current = s; cEnd++; s = 0 }
	OR_DIE;
	if
	:: locked = 0
	OR_DIE;
stop:
	if /* Wait: a writer that has set the flag and stops waiting wakes one */
#if GIVEUPS > 0
	:: atomic { set -> set = false; due[id] = true; seeking[id] = false; s = 0 };
#ifdef MUTANT_STOPS_SILENTLY
		due[id] = false;
#else
		wake(id);
#endif
#endif
	:: atomic { !set -> seeking[id] = false; s = 0 }
	fi;
	woken[id] = false;
	if
	:: stores < STORES -> goto again
	:: else -> goto done
	fi;
wait:
	if
	:: s = seq
	OR_DIE;
	if
	:: atomic { true -> flag = 1; set = true; excused[id] = false }
	OR_DIE;
	/* ready */
	pinnedBy(0);
	pinnedBy(1);
	if
	:: atomic { (mask | BIT(current)) != ALL -> mask = 0; s = 0; goto pass }
	:: atomic { (mask | BIT(current)) == ALL -> mask = 0 }
	OR_DIE;
	if /* the kernel's look at seq and the sleep are one step */
	:: atomic { seq == s -> asleep[id] = true; woken[id] = false }
	:: seq != s -> goto wait
	OR_DIE;
	if
	:: !asleep[id] -> goto wait
	:: atomic { asleep[id] && (excused[id] || DEAD(0) || DEAD(1)) -> asleep[id] = false; goto wait } /* the limit */
#if GIVEUPS > 0
	:: atomic { !calm && giveups < GIVEUPS -> giveups++; asleep[id] = false; goto stop } /* its context ends */
#endif
	OR_DIE;
pass:
	if /* the same; it continues and takes the lock */
	:: atomic { set -> set = false; due[id] = true };
#ifdef MUTANT_STOPS_SILENTLY
		due[id] = false
#else
		wake(id)
#endif
	:: !set
	fi;
	atomic { woken[id] = false; goto again };
dead:
	atomic {
		if
		:: locked == 1 + id -> locked = 0
		:: else
		fi;
		EXCUSE_ALL(due[id] || woken[id]);
		due[id] = false; woken[id] = false; asleep[id] = false; seeking[id] = false;
		s = 0; mask = 0; set = false; goto again
	};
done:
	skip
}

proctype borrower(byte m) {
	byte c, e;
claiming:
	if
	:: claim(m)
	:: claims == CLAIMS -> goto done
	fi;
again:
	if
	:: atomic { borrows < BORROWS -> borrows++; c = current; e = cEnd }
	:: borrows == BORROWS -> goto close
	fi;
	if /* row.Or(1 << i) */
	:: atomic { true -> row[m] = row[m] | BIT(c); due[2 + m] = true } /* to look again */
	OR_DIE;
	if /* r.seq.Version() == version */
	:: atomic { cEnd == e -> due[2 + m] = false };
		if
		:: true
		:: goto close /* with a value borrowed */
		OR_DIE
	:: cEnd != e
	OR_DIE;
	if /* unpin: row.And(^(1 << i)) */
	:: atomic { true -> row[m] = row[m] & ~BIT(c); due[2 + m] = true; c = 0; e = 0 }
	OR_DIE;
#ifdef MUTANT_RELEASES_SILENTLY
	due[2 + m] = false;
#else
	signal(2 + m);
#endif
	goto again;
close:
	if /* Leave: its row, the wake-up, the member slot */
	:: atomic { true -> row[m] = 0; due[2 + m] = true }
	OR_DIE;
	signal(2 + m);
	if
	:: atomic { held[m] = false; goto done }
	OR_DIE;
dead:
	atomic {
		EXCUSE_ALL(due[2 + m]);
		due[2 + m] = false; held[m] = false; c = 0; e = 0; goto claiming
	};
done:
	skip
}

#define QUIET (!due[0] && !due[1] && !due[2] && !due[3] && !(seeking[0] && !asleep[0]) && !(seeking[1] && !asleep[1]))
#define FREE ((LIVING(0) | LIVING(1) | BIT(current)) != ALL)

active proctype monitor() {
	bool forgotten;
end_never:
	atomic {
		QUIET && FREE && !DEAD(0) && !DEAD(1) && locked == 0 && (asleep[0] && !excused[0] || asleep[1] && !excused[1]) -> forgotten = true;
		assert(!forgotten) /* no writer sleeps while a slot is free and no live process is about to wake it */
	}
}

init {
	atomic {
		run writer(0);
		run writer(1);
#if BORROWERS == 2
		run borrower(1);
#endif
		run borrower(0)
	};
	calm = true
}

#endif
