"""Run receivers in workers: leases, lanes, attempts, retries, dead letters and held rows.

How partitions are found::

    Worker.run                       waits for databases and broker; a Consumer for each group
      Keeper                         a thread beside the event loop: keeping.look
        LeaseRenewal                 Broker.renew_all -> Term.extend or Tenure.lose
      Consumer.run                   rounds: Broker.join, assign, Broker.acquire, Broker.release
        NewsWatch.listen             Bell.wait -> Tenure.wake
        Tenure.run                   a lease of a partition

How an entry is fetched, becomes a job, runs and is settled, in a tenure::

    Intake.run                       waits for room and news
      Broker.fetch                   checks the lease; entries of earlier owners come first
      Intake._admit                  codec.unpack; a Job for each receiver, in the lane of its row
      Scheduler.pump                 starts a runner if a slot is free

    Scheduler._run                   a runner: takes ready lanes until its turn is over
      executor.attempt               the receiver, up to its first wait; nearly always to its end
      executor.finish                the rest of a receiver that waits, with its deadline
      Scheduler._run_first           the other jobs: retries, held rows, inherited entries
        Batches.add                  lanes of a batch receiver, until the batch is full
        Attempts.count               inherited entries: written before the call
      Verdicts.done                  handled: Handling.finish, Acknowledger.owe
      Verdicts.conclude              every other outcome: outcome.decide
        Scheduler._postpone          again: a note, and a timer for the lane
        Verdicts.give_up             Broker.bury (dead letter), or Detours.hold (park, hold the row)

    Acknowledger.run                 Broker.settle for finished entries, Broker.note for the rest

    Detours.run                      once a second while rows are held: which were released?
      Releases.handle                parked events, in order: executor.execute, Broker.unpark

Decisions are pure functions and values (`outcome`, `held_rows`, `lanes`, `assignment`). Waits for a
broker or a receiver are in `Intake`, `Scheduler`, `Verdicts`, `Detours` and `Releases`. `Term` says
to all of these whether a receiver may begin. `Tenure` lists the reasons that end a tenure.
"""
