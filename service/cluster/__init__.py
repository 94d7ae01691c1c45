"""Workers on several machines: actors of a Ray cluster, behind the Protocol `Workers`.

    async with ClusterPool(settings, registry.checkpoints, metrics, on_refused) as workers:
        workers.submit(job)
        finding = await job.future

Each node runs a service. `pool` assigns each job to the actor that can finish it first, by the
reports that `view` has of every actor. A `bridge` process speaks to Ray, so that the loss of Ray
ends that process alone; `channel` has its messages. `remote` runs inside Ray: an actor for each
worker, with a `WorkerPool` of one worker, and the manager, which starts and ends them.
"""
