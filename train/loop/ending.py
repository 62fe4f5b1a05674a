"""When the training of a run ends, and which of its weights are evaluated and saved."""


class OutOfTime(Exception):
    """Training ends within an epoch, as --max_minutes are over; a checkpoint has been written."""


def ended_by(run):
    """Returns the flag that ended a training: epochs, steps, patience_epochs or max_minutes; or None.

    What the answer depends on stands in checkpoints, so that a run that ended has ended when it starts again.
    """
    patience, best = run.config.patience_epochs, run.best
    if run.epoch >= run.schedule.num_epochs:
        return "steps" if run.config.steps else "epochs"
    if patience and best and run.epoch - (best["epoch"] + 1) >= patience:
        return "patience_epochs"
    return "max_minutes" if run.is_out_of_time else None


def why(run):
    """Returns in words what ended a training, and whose weights are taken."""
    measure = run.config.measure.replace("top1", "top-1")
    reason = {
        "epochs": "all epochs are done",
        "steps": f"all {run.config.steps} steps are done",
        "patience_epochs": f"no better {measure} in {run.config.patience_epochs} epochs",
        "max_minutes": f"{run.config.max_minutes:g} minutes are over",
    }[ended_by(run)]
    kept, epoch = kept_step(run), kept_epoch(run)
    whose = f"epoch {epoch}"
    if kept > run.schedule.steps_in(epoch):
        whose = f"step {kept}, within epoch {epoch + 1}"
    return f"{reason}; the weights are those of {whose}"


def kept_epoch(run):
    """Returns the count of whole epochs after which the weights were as they are evaluated and saved."""
    return run.best["epoch"] + 1 if _keeps_best(run) else run.epoch


def kept_step(run):
    """Returns the step after which the weights were as they are evaluated and saved."""
    return run.schedule.steps_in(run.best["epoch"] + 1) if _keeps_best(run) else run.step


def _keeps_best(run):
    return run.config.keep_epoch == "best" and run.best is not None


def restore_kept(run):
    """Gives the variables what they had after the epoch that is kept, where it is not the last one.

    Raises:
        CheckpointError: The checkpoint of that epoch is damaged or gone.
        WorkerError: This happened to the chief, and this worker is not it.
    """
    if kept_step(run) == run.step:
        return
    with run.workers.together():
        if run.workers.is_chief:
            run.checkpoints.restore_best(kept_step(run))
    run.workers.give(run.variables)
