"""ALS by Spark: on this machine, or on a cluster for ratings that fit in no machine's memory.

`session` starts Spark, `engine` fits, `frames` reads ratings and gives ids their places, `splits` and `evaluate` do
what their namesakes one folder up do in memory, `job` is the whole run, for `spark-submit`. pyspark is imported
inside functions only: the native engine needs neither it nor Java.
"""
