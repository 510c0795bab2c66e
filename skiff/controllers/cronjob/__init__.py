"""CronJobs: jobs at the times of a schedule.

`plan.py` decides what is due (pure; `api/cron.py` reads the schedules), `run.py` reconciles.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/.
"""
