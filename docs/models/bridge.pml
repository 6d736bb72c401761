/*
 * Publish and Mirror of natsbridge, between two hosts and a key: natsbridge (link.go, publish.go, mirror.go). A comment
 * that quotes Go stands at the statement that models it.
 *
 * Each host has a segment, a link, a program that stores, a Publish and a Mirror. Everything under the link's lock is one
 * step, except that the lock's owner can be killed in it: then the link is unchanged, and the segment may have been
 * stored to. The key is a register that is set only if its revision is as expected. A bridge that is killed starts again
 * and knows only the link. Each Store has a different value, so a value stands for its SHA-256.
 */

#ifndef STORES
#define STORES 2 /* of each host */
#endif
#ifndef KILLS
#define KILLS 1  /* in total */
#endif

#define NONE 0
#define VALUE(h, n) (1 + (h) + 2*(n))  /* the n-th of host h */
#define AUTHOR(v) (((v) - 1) % 2)

byte revision, key, origin = 9;        /* the newest revision, its value, and the host that put it */
byte segment[2], linkRevision[2], sum[2], incoming[2], incomingRevision[2], outgoing[2];

/* Only for the assertions. */
byte put[2];                           /* the last value that a host has put */
byte kills = KILLS;
bool over;

#define DIRTY(h) (segment[h] != NONE && segment[h] != sum[h]) /* t.version != 0 && t.sum != b.Sum */

inline finish() { /* l.finish(b) */
	if
#ifndef MUTANT_NOT_FINISHED
	:: incomingRevision[h] != 0 && segment[h] == incoming[h] ->
		if
		:: incomingRevision[h] > linkRevision[h] -> linkRevision[h] = incomingRevision[h] /* max(b.Revision, b.IncomingRevision) */
		:: else
		fi;
		sum[h] = incoming[h];
		outgoing[h] = NONE;
		incoming[h] = NONE;
		incomingRevision[h] = 0
#endif
	:: else
	fi
}

#ifdef MUTANT_ALWAYS_GIVE_WAY
#define GIVES_WAY(h) true
#else
#define GIVES_WAY(h) DIRTY(h)
#endif

#define OR_DIE :: atomic { kills > 0 -> kills-- } goto killed; fi

proctype program(byte h) {
	byte n;
	do
	:: n < STORES -> atomic { segment[h] = VALUE(h, n); n++ }
	:: n == STORES -> break
	od
}

proctype publish(byte h) {
	byte v, expected, seen, seenKey, seenOrigin;
	bool again;
killed:
	atomic { v = NONE; expected = 0; again = false; seen = 0; seenKey = NONE; seenOrigin = 0 }
next:
	do
	:: over -> break
	:: atomic { /* p.look(ctx) */
		DIRTY(h) ->
			finish();
			if
			:: !DIRTY(h) -> goto next
			:: else
			fi;
			v = segment[h];
			expected = linkRevision[h];
#ifndef MUTANT_NO_OUTGOING
			again = outgoing[h] == v; /* t.sum == b.Outgoing */
#endif
			outgoing[h] = v
		}
		if :: true
		OR_DIE;
		atomic {
			if
#ifdef MUTANT_UNCONDITIONAL
			:: true ->
#else
			:: revision == expected -> /* jetstream.WithExpectLastSequencePerSubject(expected) */
#endif
				assert(AUTHOR(v) == h); /* a value that came from the key is not sent back */
				assert(v > put[h]);     /* no value is put after a newer one, nor twice */
				put[h] = v;
				revision++;
				key = v;
				origin = h;
				expected = revision
			:: else -> expected = 0
			fi
		}
		if :: true
		OR_DIE;
		if
		:: expected != 0 ->
			atomic { /* p.link.agree(ctx, revision, t.sum) */
				finish();
				if
				:: expected > linkRevision[h] -> linkRevision[h] = expected; sum[h] = v; outgoing[h] = NONE
				:: else
				fi;
				v = NONE; expected = 0; again = false
			}
		:: else ->
			atomic { seen = revision; seenKey = key; seenOrigin = origin } /* p.key.last(ctx) */
			if :: true
		OR_DIE;
			atomic { /* p.giveWayTo(ctx, &last, t) */
				finish();
				if
				:: seen > linkRevision[h] && seenOrigin == h -> linkRevision[h] = seen; sum[h] = seenKey; outgoing[h] = NONE
				:: seen > linkRevision[h] && seenOrigin != h && GIVES_WAY(h) -> /* !t.dirty || last.revision <= b.Revision */
					if
					:: again && segment[h] == v -> /* refused.again && t.sum == refused.sum */
						sum[h] = v /* b.Sum, b.Outgoing = t.sum, [sha256.Size]byte{} */
					:: else ->
						linkRevision[h] = seen;
						sum[h] = seenKey; /* b.settle(last) */
						incoming[h] = NONE;
						incomingRevision[h] = 0
					fi;
					outgoing[h] = NONE
				:: else
				fi;
				v = NONE; again = false; seen = 0; seenKey = NONE; seenOrigin = 0
			}
		fi
	od
}

#ifdef MUTANT_STORE_OWN
#define DUE(h) (segment[h] == NONE || seen > linkRevision[h])
#else
#define DUE(h) (segment[h] == NONE || seen > linkRevision[h] && seenOrigin != h) /* e.revision > b.Revision && !m.link.own(e) */
#endif

proctype mirror(byte h) {
	byte seen, seenKey, seenOrigin;
	bool due;
killed:
	atomic { seen = 0; seenKey = NONE; seenOrigin = 0; due = false }
next:
	do
	:: over -> break
	:: atomic { revision > seen -> seen = revision; seenKey = key; seenOrigin = origin }
		if :: true
		OR_DIE;
		atomic { /* m.announce(ctx, e) */
			finish();
			due = false;
			if
			:: DUE(h) ->
				due = true;
#ifndef MUTANT_NO_ANNOUNCEMENT
				incoming[h] = seenKey; incomingRevision[h] = seen /* b.IncomingRevision, b.Incoming = e.revision, e.sum() */
#endif
			:: else ->
				if
				:: seen > linkRevision[h] -> linkRevision[h] = seen; sum[h] = seenKey; outgoing[h] = NONE /* b.settle(e) */
				:: else
				fi
			fi
		}
		if :: true
		OR_DIE;
		if
		:: due ->
			atomic { /* m.commit(ctx, e) */
				finish();
				if
#ifdef MUTANT_NO_SECOND_LOOK
				:: true ->
#else
				:: DUE(h) ->
#endif
					assert(segment[h] == NONE || AUTHOR(segment[h]) != h || AUTHOR(seenKey) != h || seenKey >= segment[h]); /* no value is replaced by an older one of the same host */
					segment[h] = seenKey;
					if
					:: linkRevision[h] = seen; sum[h] = seenKey; incoming[h] = NONE; incomingRevision[h] = 0; outgoing[h] = NONE
					:: kills > 0 -> kills--; goto killed /* with the lock, which the next owner takes over */
					fi
				:: else
				fi
			}
		:: else
		fi;
		atomic { due = false; seenKey = NONE; seenOrigin = 0 }
	od
}

proctype monitor() {
	do
	:: timeout ->
		assert(segment[0] == key && segment[1] == key); /* at rest both hosts have the key's value */
		over = true;
		break
	od
}

init {
	atomic {
		run program(0); run program(1);
		run publish(0); run publish(1);
		run mirror(0); run mirror(1);
		run monitor()
	}
}
