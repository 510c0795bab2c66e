"""CronJobs: jobs at the times of a schedule.

`schedule.py` reads cron expressions and finds times, `plan.py` decides what is due (both pure),
`run.py` reconciles.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/.
"""
