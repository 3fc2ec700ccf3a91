"""Simulate a farm, to plan one and to find defects: the code behind `dispatcher simulate`.

The rules, the scheduling and the timers are the dispatcher's own. The clock, the network, the
engines and the people are simulated, and any of them may fail. `farm.simulate` runs a
`plan.Plan`.

Law: the same plan gives the same events, in every process.
"""
