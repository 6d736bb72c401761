/*
 * The Cond: sync/cond.go. Waiters and signallers die at any step, and others take their member slots. A comment that
 * quotes Go stands at the statement that models it.
 *
 * Each member has a row {identity, waiting, granted}: how many of its goroutines wait, and how many of these may
 * continue. Rows change under the Cond's own mutex, which is one step here; mutex.pml has its steps. The users' mutex is
 * another one. The users wait for items: a waiter that continues takes one, and each process that adds one signals.
 *
 * Memory is sequentially consistent here. Only one goroutine of each handle uses the Cond.
 */

#define HANDLES 3 /* two that take, one that adds */
#ifndef ITEMS
#define ITEMS 2   /* added in total */
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef GIVEUPS
#define GIVEUPS 1 /* contexts that end */
#endif

byte row[HANDLES];        /* the generation of its owner */
bool waiting[HANDLES], granted[HANDLES];
byte flag, seq;
byte own, users;          /* the Cond's mutex, and the users': 1 + the owner */
byte generation[HANDLES];
bool live[HANDLES];
bool asleep[HANDLES];     /* the kernel's view */

/* Only for the assertions. */
byte items, added;
byte due, gone;           /* how many waiters Signals and Broadcasts allow to continue; how many continued */
bool late[HANDLES];       /* while it waited, a process died */
bool ended[HANDLES];
bool calm;                /* from now on no process dies or gives up, and a sleep ends by its limit only where it must */
byte deaths, giveups;

#define LIVES(m) (live[m] && row[m] == generation[m])
#define MINE (row[id] == generation[id])
#define ALL(x, v) x[0] = v; x[1] = v; x[2] = v

/* Between any two accesses to shared data a process continues or is killed. */
#define OR_DIE :: atomic { !calm && deaths < DEATHS -> deaths++; goto dead }; fi

inline lock(mutex) {
	if
	:: atomic { mutex == 0 -> mutex = 1 + id }
	OR_DIE
}
inline unlock(mutex) {
	if
	:: atomic { true -> mutex = 0 }
	OR_DIE
}

/* grant: the first live waiter may continue; the Cond's mutex is held */
inline grant() {
	i = 0;
	do
	:: i < HANDLES && !found ->
		if
#ifdef MUTANT_GRANTS_THE_DEAD
		:: atomic { waiting[i] && !granted[i] -> granted[i] = true; found = true }
		:: !(waiting[i] && !granted[i])
#else
		:: atomic { LIVES(i) && waiting[i] && !granted[i] -> granted[i] = true; found = true }
		:: !(LIVES(i) && waiting[i] && !granted[i])
#endif
		OR_DIE;
		i++
	:: i == HANDLES || found -> i = 0; break
	od
}

/* inherit: a dead waiter's grant goes to another */
inline inherit(m) {
	found = false;
#ifdef MUTANT_CLEARS_FIRST
	if
	:: atomic { true -> waiting[m] = false; granted[m] = false }
	OR_DIE;
	grant()
#else
	grant();
	if
	:: atomic { true -> waiting[m] = false; granted[m] = false }
	OR_DIE
#endif
}

inline tell() { /* unlock; then as in semaphore.pml: b.notifier.Disarm(), b.seq.Add(1), b.notifier.Notify */
	unlock(own);
	if
	:: atomic { flag != 0 -> flag = 0; armed = true }
	:: flag == 0
	OR_DIE;
	if
	:: armed ->
		if
		:: seq = (seq + 1) & 31
		OR_DIE;
		if
		:: atomic { true -> armed = false; ALL(asleep, false) }
		OR_DIE
	:: !armed
	fi
}

proctype taker(byte id) {
	byte i, s, j;
	bool found, armed;
	bool went; /* Wait is about to return, with the users' mutex */

again:
	lock(users);
look:
	if
	:: items > 0 -> goto take
	:: items == 0
	fi;
#ifdef MUTANT_UNLOCKS_FIRST
	unlock(users);
#endif
	/* Wait: enlist */
	lock(own);
	if
	:: granted[id] && !MINE -> inherit(id) /* of the slot's last holder */
	:: !(granted[id] && !MINE)
	fi;
	if
	:: atomic { true -> row[id] = generation[id]; waiting[id] = true; granted[id] = false; late[id] = false }
	OR_DIE;
	unlock(own);
#ifndef MUTANT_UNLOCKS_FIRST
	unlock(users);
#endif
arm:
	if /* doArm: now := n.src.Word.Load() */
	:: s = seq
	OR_DIE;
	if /* n.src.Flag.Store(1) */
	:: flag = 1
	OR_DIE;
	if /* await: ready */
	:: atomic { granted[id] -> s = 0; goto relock }
	:: !granted[id]
	OR_DIE;
	if
	:: atomic { seq == s -> asleep[id] = true; s = 0 }
	:: atomic { seq != s -> s = 0; goto arm }
	OR_DIE;
	if
	:: !asleep[id] -> goto arm
	:: atomic { asleep[id] && late[id] -> asleep[id] = false; late[id] = false } /* limit */
	:: atomic { !calm && giveups < GIVEUPS -> giveups++; asleep[id] = false; goto give_up }
	:: atomic { asleep[id] && calm && items == 0 && ended[HANDLES - 1] -> asleep[id] = false; goto fin } /* no item will come */
	OR_DIE;
	lock(own); /* inheritAll */
	j = 0;
	do
	:: j < HANDLES ->
		if
#ifdef MUTANT_DEATH_LOSES
		:: false
		:: true
#else
		:: granted[j] && !LIVES(j) -> inherit(j)
		:: !(granted[j] && !LIVES(j))
#endif
		fi;
		j++
	:: j == HANDLES -> j = 0; break
	od;
	found = false;
	tell();
	goto arm;

relock:
#ifdef MUTANT_CLAIMS_BEFORE_LOCK
	lock(own);
	if
	:: atomic { true -> waiting[id] = false; granted[id] = false }
	OR_DIE;
	unlock(own);
	lock(users);
#else
	lock(users);
	lock(own); /* delist */
	if
	:: atomic { true -> waiting[id] = false; granted[id] = false; went = true }
	OR_DIE;
	unlock(own);
#endif
	atomic { went = false; gone++;
		assert(gone <= due + deaths) /* each Signal allows one waiter to continue, and each death one more */ };
	goto look;

give_up: /* delist, and its grant goes to another */
	lock(own);
#ifdef MUTANT_GIVES_UP_SILENTLY
	if
	:: atomic { true -> waiting[id] = false; granted[id] = false }
	OR_DIE;
	unlock(own);
#else
	if
	:: granted[id] -> inherit(id)
	:: atomic { !granted[id] -> waiting[id] = false }
	OR_DIE;
	tell();
#endif
	goto fin;

take:
	items--;
	unlock(users);
	goto again;

dead:
	atomic {
		if
		:: own == 1 + id -> own = 0
		:: else
		fi;
		if
		:: users == 1 + id -> users = 0
		:: else
		fi;
		if /* as if it had died after Wait with its item, which the users' Repair must handle */
		:: went && items > 0 -> items--
		:: else
		fi;
		live[id] = false; asleep[id] = false; went = false;
		ALL(late, true);
		s = 0; i = 0; j = 0; found = false; armed = false
	};
	if /* another handle takes its member slot, or none does */
	:: atomic { true -> generation[id]++; live[id] = true; goto again }
	:: goto fin
	fi;
fin:
	ended[id] = true
}

proctype adder(byte id) {
	byte i;
	bool found, armed;

again:
	lock(users);
	if
	:: atomic { added < ITEMS -> items++; added++ }
	:: added == ITEMS /* an earlier adder died, maybe before its Signal */
	fi;
	unlock(users);
	lock(own);
	if
	:: atomic { true -> due++; found = false };
		grant() /* Signal */
	:: true ->
		i = 0;
		do /* Broadcast: all waiters may continue */
		:: i < HANDLES ->
			if
			:: atomic { LIVES(i) && waiting[i] && !granted[i] -> granted[i] = true; due++ }
			:: !(LIVES(i) && waiting[i] && !granted[i])
			OR_DIE;
			i++
		:: i == HANDLES -> i = 0; break
		od
	fi;
#ifdef MUTANT_TELLS_NOBODY
	unlock(own);
#else
	tell();
#endif
	if
	:: added < ITEMS -> goto again
	:: added == ITEMS -> goto fin
	fi;

dead:
	atomic {
		if
		:: own == 1 + id -> own = 0
		:: else
		fi;
		if
		:: users == 1 + id -> users = 0
		:: else
		fi;
		live[id] = false;
		ALL(late, true);
		i = 0; found = false; armed = false
	};
	atomic { generation[id]++; live[id] = true; goto again };
fin:
	ended[id] = true
}

init {
	atomic {
		run taker(0);
		run taker(1);
		run adder(2);
		ALL(live, true)
	};
	calm = true
}
