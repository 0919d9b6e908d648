/* From the outbox to the stream: one partition of a publisher's database, its stream in Redis, and one group that reads it.
 *
 * EVENTS rows of the outbox, numbered in the order of their ids. Odd ones belong to one row of the model, even ones to another: the
 * events of a row become visible in the order of their ids (they are drawn under the row's lock), those of different rows in any order.
 * RELAYS relays without any lease; each may sleep or crash between any two of its steps. One worker with a tenure that ends with the
 * stream's epoch. A nemesis takes a copy of Redis at any moment and brings it back at any later one (LOSS: a failover, a lost tail of
 * the AOF, an empty restart when the copy is of the beginning), or deletes the stream (DELETE), or the group (DESTROY).
 * Entries are numbered by their place. After a loss Redis gives the numbers out again (or does not, with -DFRESH_NUMBERS).
 *
 * Every atomic or d_step below is one Lua script, one statement or one transaction; README.md says which, and lists the flags. */

#ifndef EVENTS
#define EVENTS 3
#endif
#ifndef RELAYS
#define RELAYS 2
#endif
#ifndef LENGTH
#define LENGTH (2 * EVENTS)
#endif
#define BIT(k) (1 << (k))
#define SAMEROW(a, b) (((a) & 1) == ((b) & 1))

/* The database. */
#define ABSENT 0
#define PENDING 1
#define PUBLISHED 2
#define CONFIRMED 3
byte status[EVENTS + 1];
byte place[EVENTS + 1];                          /* entry of a published event */
byte head_epoch, head_entry, head_event;         /* where the database believes the stream to stand */
byte confirmed;                                  /* every group has finished what lies below */

/* Redis. The group is in the database's list of groups from the beginning. There is another group that has always read everything. */
byte cell[LENGTH + 1];                           /* entry to event; 0 for none */
byte last;                                       /* the highest number given out */
byte epoch;                                      /* 0: no key */
bool leased;                                     /* the lease names the worker's tenure */
bool group;                                      /* the group exists */
byte position;                                   /* what it has read last */
#define MINE 1
#define LEFT 2
byte unfinished[LENGTH + 1];                     /* by entry: whose; LEFT by a former tenure */
byte live;                                       /* ghost: events that were appended to this stream, as it is after losses */

byte newest_epoch;                               /* ghost: epochs are random names, so each is a new one */
byte handled;                                    /* ghost: events that the group's receivers have handled */

/* The copy of Redis. */
byte s_cell[LENGTH + 1], s_last, s_epoch, s_position, s_unfinished[LENGTH + 1], s_live;
bool s_leased, s_group;
bool calm;                                       /* nothing will be lost any more */

byte i, j, n;                                    /* scratch of single d_steps, 0 between them */

inline newest(entry, event) {
    entry = LENGTH;
    do
    :: entry > 0 && cell[entry] == 0 -> entry--
    :: else -> break
    od;
    event = cell[entry]                          /* cell[0] stays 0: an empty stream stands at entry 0, event 0 */
}

inline append(k) {
    assert(!(live & BIT(k)));                    /* nothing is published twice, unless it was lost */
    for (j : 1 .. EVENTS) {
        if
        :: SAMEROW(j, k) && j < k -> assert((live & BIT(j)) || status[j] == CONFIRMED)     /* in the order of their commits */
        :: else
        fi
    }
    for (j : 1 .. LENGTH) {
        assert(!(cell[j] > k && SAMEROW(cell[j], k)))              /* no stale copy behind a later event */
    }
    assert(last < LENGTH);                       /* the bound of the model is not reached */
    last++;
    cell[last] = k;
    live = live | BIT(k);
    printf("  event %d is entry %d of epoch %d\n", k, last, epoch)
}

#define fresh(variable) newest_epoch++; variable = newest_epoch

active proctype Producers() {
    do
    :: d_step { status[1] == ABSENT -> status[1] = PENDING }
    :: d_step { status[2] == ABSENT -> status[2] = PENDING }
#if EVENTS > 2
    :: d_step { status[3] == ABSENT && status[1] != ABSENT -> status[3] = PENDING }
#endif
#if EVENTS > 3
    :: d_step { status[4] == ABSENT && status[2] != ABSENT -> status[4] = PENDING }
#endif
    od
}

#define STANDS (head_epoch == h_epoch && head_entry == h_entry && head_event == h_event)
#define HOLDS_HEAD (epoch == h_epoch && h_entry > 0 && cell[h_entry] == h_event)

inline read_head() {
    d_step { h_epoch = head_epoch; h_entry = head_entry; h_event = head_event }
}

inline read_rows() {
    d_step {
        for (i : 1 .. EVENTS) {
            if
            :: status[i] == PENDING -> rows = rows | BIT(i)
            :: else
            fi
        }
        i = 0
    }
}

inline place_found() {
    for (i : 1 .. EVENTS) {
        if
        :: got[i] != 0 && status[i] != CONFIRMED -> status[i] = PUBLISHED; place[i] = got[i]
        :: else
        fi
    }
}

inline forget() {
    d_step {
        h_epoch = 0; h_entry = 0; h_event = 0; n_epoch = 0; n_entry = 0; n_event = 0; rows = 0; refused = false;
        for (i : 1 .. EVENTS) { got[i] = 0 }
        i = 0
    }
}

active [RELAYS] proctype Relay() {
    byte h_epoch, h_entry, h_event;              /* the head as it was read */
    byte n_epoch, n_entry, n_event;              /* where the stream was found */
    byte rows;                                   /* pending events as they were read */
    byte got[EVENTS + 1];                        /* event to entry */
    bool whole, refused;
top:
    atomic {
        if
#if defined(HEAD_READ_FIRST)
        :: read_head(); goto publish
#elif defined(HEAD_READ_LAST)
        :: read_rows(); goto publish
#else
        :: read_head(); read_rows(); printf("relay %d reads rows %d, head %d of %d\n", _pid, rows, h_entry, h_epoch); goto batch       /* OutboxStore.pending */
#endif
        :: read_head(); goto inspect                             /* Relay.verify: OutboxStore.heads */
        :: read_head(); goto tidy                                /* Relay._tidy: OutboxStore.heads */
        fi
    };

publish:
#if defined(HEAD_READ_FIRST)
    read_rows();
#elif defined(HEAD_READ_LAST)
    read_head();
#endif

batch:
    atomic {
        if
        :: rows == 0 -> forget(); goto top
        :: else
        fi;
        if
        :: whole = true                          /* all of them in one batch */
        :: whole = false                         /* one by one */
        fi;
        d_step {                                 /* publish.lua */
            newest(i, j);
            n = 1;
            if
#ifdef NO_EPOCH_CHECK
            :: epoch == 0 -> n = 0
#else
            :: epoch == 0 || epoch != h_epoch -> n = 0
#endif
            :: else
            fi;
#ifndef NO_PUBLISH_CAS
            if                                   /* where this relay's last append, or the database's head, has left the stream */
            :: n_entry != 0 && (i != n_entry || j != n_event) -> n = 0
            :: n_entry == 0 && (i != h_entry || j != h_event) -> n = 0
            :: else
            fi;
#endif
            if
            :: n == 0 -> rows = 0; refused = true
            :: else
            fi;
            for (i : 1 .. EVENTS) {
                if
                :: (rows & BIT(i)) && n == 1 ->
                    append(i);
                    n_epoch = h_epoch; n_entry = last; n_event = i;
                    got[i] = last;
                    rows = rows & ~BIT(i);
                    if
                    :: !whole -> n = 2
                    :: else
                    fi
                :: else
                fi
            }
            whole = false; i = 0; j = 0; n = 0
        }
        if
        :: refused && n_entry == 0 -> refused = false; goto inspect
        :: else
        fi
    }
    if
    :: rows != 0 -> goto batch                   /* the next batch is appended before this one is marked */
    :: forget(); goto top                        /* crash, or the answer is lost */
    :: d_step {                                  /* OutboxStore.mark; appending goes on whether or not it succeeds */
            true;
            if
#ifndef NO_MARK_CAS
            :: !STANDS
#endif
            :: else ->
                printf("relay %d marks up to entry %d (event %d)\n", _pid, n_entry, n_event);
                head_epoch = n_epoch; head_entry = n_entry; head_event = n_event;
                place_found()
            fi;
            h_epoch = n_epoch; h_entry = n_entry; h_event = n_event;
            n_epoch = 0; n_entry = 0; n_event = 0;
            for (i : 1 .. EVENTS) { got[i] = 0 }
            i = 0
        }
        if
        :: rows != 0 -> goto batch
        :: rows == 0 && refused -> refused = false; goto inspect
        :: else -> forget(); goto top
        fi
    fi;

inspect:
    atomic {
        d_step {                                 /* inspect.lua */
            n_epoch = epoch;
#ifndef LOSS_NOT_NOTICED
            if
            :: n_epoch == h_epoch && h_entry != 0 && cell[h_entry] != h_event -> n_epoch = 0
            :: else
            fi;
#endif
            if
            :: n_epoch == 0 ->
                fresh(n_epoch);
#ifndef EPOCH_SET_LATER
                epoch = n_epoch
#endif
            :: else
            fi;
            newest(n_entry, n_event);
            printf("relay %d inspects with head %d of %d: epoch %d, newest entry %d\n", _pid, h_entry, h_epoch, n_epoch, n_entry);
            for (i : 1 .. LENGTH) {
                if
#ifdef BY_NUMBER
                :: cell[i] != 0 && i > h_entry -> got[cell[i]] = i
#else
                :: cell[i] != 0 && (i > h_entry || n_epoch != h_epoch) -> got[cell[i]] = i
#endif
                :: else
                fi
            }
            i = 0
        }
        if
        :: n_epoch == h_epoch && n_entry == h_entry && n_event == h_event -> forget(); goto top
        :: else
        fi
    }
#ifdef EPOCH_SET_LATER
    epoch = n_epoch;
#endif
    if
    :: forget(); goto top                        /* crash, or the answer is lost */
    :: d_step {                                  /* OutboxStore.resynchronise */
            true;
            if
#ifndef NO_REPAIR_CAS
            :: !STANDS
#endif
            :: else ->
                printf("relay %d repairs: epoch %d was %d, head %d was %d\n", _pid, n_epoch, h_epoch, n_entry, h_entry);
                head_epoch = n_epoch; head_entry = n_entry; head_event = n_event;
                if
                :: n_epoch != h_epoch ->
                    for (i : 1 .. EVENTS) {
                        if
                        :: status[i] == PUBLISHED && place[i] < confirmed -> status[i] = CONFIRMED; place[i] = 0
#ifndef LOST_NOT_PENDING
                        :: status[i] == PUBLISHED && place[i] >= confirmed -> status[i] = PENDING; place[i] = 0
#endif
                        :: else
                        fi
                    }
#ifndef CONFIRMED_KEPT
                    confirmed = 0
#endif
                :: else
                fi;
                place_found()
            fi;
            i = 0
        }
        forget(); goto top
    fi;

tidy:
    atomic {
        d_step {                                 /* progress.lua; n_entry: the least entry that somebody still needs */
            n_entry = 0;
            if
            :: HOLDS_HEAD ->
#ifdef TRIM_BEYOND_HEAD
                newest(n_entry, n_event);
                n_event = 0;
#else
                n_entry = h_entry;
#endif
                if
                :: group ->
                    j = position;
                    i = LENGTH;
                    do
                    :: i > 0 && unfinished[i] -> j = i; i--
                    :: i > 0 && !unfinished[i] -> i--
                    :: else -> break
                    od;
                    if
                    :: j < n_entry -> n_entry = j
                    :: else
                    fi
#ifndef GROUPS_FORGOTTEN
                :: else -> n_entry = 0           /* a known group is missing */
#else
                :: else
#endif
                fi
            :: else
            fi;
            i = 0; j = 0
        }
        if
        :: n_entry == 0 -> forget(); goto top
        :: else
        fi
    }
#ifndef TRIMMED_FIRST
    atomic {
        d_step {                                 /* OutboxStore.confirm */
            if
#ifndef NO_CONFIRM_CAS
            :: !STANDS -> n_entry = 0
#endif
            :: else ->
                if
#ifndef CONFIRMED_FALLS
                :: n_entry < confirmed
#endif
                :: else -> confirmed = n_entry
                fi;
                printf("relay %d confirms below %d: %d\n", _pid, n_entry, confirmed)
            fi
        }
        if
        :: n_entry == 0 -> forget(); goto top
        :: else
        fi
    }
#endif
    d_step {                                     /* progress.lua, to trim */
        printf("relay %d trims below %d\n", _pid, n_entry);
        if
#ifndef NO_TRIM_CHECK
        :: !HOLDS_HEAD
#endif
        :: else ->
            for (i : 1 .. LENGTH) {
                if
                :: i < n_entry -> cell[i] = 0
                :: else
                fi
            }
        fi;
        i = 0
    }
#ifdef TRIMMED_FIRST
    if
    :: STANDS -> confirmed = n_entry
    :: else
    fi;
#endif
    forget(); goto top
}

#ifdef WORKER
active proctype Worker() {
    byte tenure;                                 /* the epoch in which the lease was taken; 0: none */
    byte entry, event;                           /* in hand */
    byte owed;                                   /* entries that are handled and not settled */
    byte read;                                   /* the highest entry read in this tenure */
    do
    :: tenure == 0 -> d_step {                   /* acquire.lua, once the lease of the former tenure has run out */
            if
            :: epoch == 0 -> fresh(epoch)
            :: else
            fi;
            tenure = epoch;
            leased = true; s_leased = false;
            for (i : 1 .. LENGTH) {
                if :: unfinished[i] == MINE -> unfinished[i] = LEFT :: else fi;
                if :: s_unfinished[i] == MINE -> s_unfinished[i] = LEFT :: else fi
            }
            i = 0
        }
    :: tenure != 0 && event == 0 -> d_step {     /* fetch.lua */
            if
#ifdef NO_EPOCH_IN_TENURE
            :: !leased ->
#else
            :: !leased || epoch != tenure ->
#endif
                tenure = 0; owed = 0; read = 0
            :: else ->
                if
                :: !group -> group = true; position = 0
                :: else
                fi;
                i = 1;
                do
                :: i <= LENGTH && unfinished[i] == LEFT && cell[i] == 0 -> unfinished[i] = 0; i++
                :: i <= LENGTH && unfinished[i] == LEFT && cell[i] != 0 -> break
                :: i <= LENGTH && unfinished[i] != LEFT -> i++
                :: else -> break
                od;
                if
                :: i <= LENGTH -> n = i
                :: else ->
                    n = 0;
                    i = position + 1;
                    do
                    :: i <= LENGTH && cell[i] == 0 -> i++
                    :: i <= LENGTH && cell[i] != 0 -> n = i; position = i; break
                    :: else -> break
                    od
                fi;
                if
                :: n != 0 ->
                    unfinished[n] = MINE;
#ifdef READS_RISE
                    if
                    :: n <= read -> tenure = 0; owed = 0; read = 0
                    :: else -> entry = n; event = cell[n]; read = n
                    fi
#else
                    entry = n; event = cell[n]
#endif
                :: else
                fi
            fi;
            i = 0; n = 0
        }
    :: event != 0 -> d_step {                    /* the receiver */
            for (i : 1 .. EVENTS) {
                assert(!(SAMEROW(i, event) && i < event) || (handled & BIT(i)))
            }
            printf("worker handles event %d (entry %d)\n", event, entry);
            handled = handled | BIT(event);
            owed = owed | BIT(entry - 1);
            entry = 0; event = 0; i = 0
        }
    :: owed != 0 -> d_step {                     /* settle.lua */
            if
#if defined(NO_LEASE_IN_SETTLE)
            :: false ->
#elif defined(NO_EPOCH_IN_TENURE)
            :: !leased ->
#else
            :: !leased || epoch != tenure ->
#endif
                tenure = 0; entry = 0; event = 0; read = 0
            :: else ->
                for (i : 1 .. LENGTH) {
                    if
                    :: owed & BIT(i - 1) -> unfinished[i] = 0
                    :: else
                    fi
                }
            fi;
            owed = 0; i = 0
        }
    :: d_step { tenure != 0 -> tenure = 0; entry = 0; event = 0; owed = 0; read = 0 }       /* crash, or the lease has run out */
    od
}
#else
active proctype Group() {                        /* reads, handles and settles one entry in one step */
    do
    :: d_step {
            !group || position < LENGTH ->
            group = true;
            i = position + 1;
            do
            :: i <= LENGTH && cell[i] == 0 -> i++
            :: i <= LENGTH && cell[i] != 0 ->
                n = cell[i];
                for (j : 1 .. EVENTS) {
                    assert(!(SAMEROW(j, n) && j < n) || (handled & BIT(j)))
                }
                printf("group handles event %d (entry %d)\n", n, i);
                handled = handled | BIT(n);
                position = i;
                break
            :: else -> break
            od;
            i = 0; j = 0; n = 0
        }
    od
}
#endif

active proctype Nemesis() {
#ifdef LOSS
    if
    :: d_step {                                  /* a copy is taken; before that it is one of the beginning */
        for (i : 1 .. LENGTH) { s_cell[i] = cell[i]; s_unfinished[i] = unfinished[i] }
        s_last = last; s_epoch = epoch; s_position = position; s_live = live; s_leased = leased; s_group = group;
        printf("a copy is taken\n");
        i = 0 }
    :: true
    fi;
    d_step {                                     /* it is all there is */
        for (i : 1 .. LENGTH) { cell[i] = s_cell[i]; unfinished[i] = s_unfinished[i]; s_cell[i] = 0; s_unfinished[i] = 0 }
#ifndef FRESH_NUMBERS
        last = s_last;
#endif
        epoch = s_epoch; position = s_position; live = s_live; leased = s_leased; group = s_group;
        s_last = 0; s_epoch = 0; s_position = 0; s_live = 0; s_leased = false; s_group = false;
        printf("the copy is restored\n");
        i = 0; calm = true
    }
#elif defined(DELETE)
    d_step {
        for (i : 1 .. LENGTH) { cell[i] = 0; unfinished[i] = 0 }
#ifndef FRESH_NUMBERS
        last = 0;
#endif
        live = 0; group = false; position = 0; i = 0; calm = true
    }
#elif defined(DESTROY)
    d_step {
        for (i : 1 .. LENGTH) { unfinished[i] = 0 }
        group = false; position = 0; i = 0; calm = true
    }
#else
    calm = true
#endif
}

/* When nothing is left to do, everything was handled. */
active proctype End() {
    atomic {
        calm && status[1] >= PUBLISHED && status[2] >= PUBLISHED && status[EVENTS] >= PUBLISHED && status[EVENTS - 1] >= PUBLISHED &&
        epoch != 0 && head_epoch == epoch && group ->
        newest(i, n);
        if
        :: head_entry == i && head_event == n && position >= i ->
            j = 0;
            for (i : 1 .. LENGTH) { j = j + unfinished[i] }
#ifdef REACHED
            assert(j > 0);
#endif
            assert(j > 0 || handled == (BIT(EVENTS + 1) - 2))
        :: else
        fi;
        i = 0; j = 0; n = 0
    }
}
