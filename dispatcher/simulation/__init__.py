"""A farm in simulated time, to plan one and to find defects: what `dispatcher simulate` runs.

The rules, the scheduling and the timers are the dispatcher's own. The clock, the network, the
engines and the people are simulated, and any of them may go wrong. `farm.simulate` runs a
`plan.Plan`.

Law: the same plan gives the same run, event by event, in every process.
"""
