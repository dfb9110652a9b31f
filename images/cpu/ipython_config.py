"""Every kernel here begins with %kf and %%kf."""

c = get_config()  # type: ignore[name-defined]  # noqa: F821
c.InteractiveShellApp.extensions = ["kfspawner"]
