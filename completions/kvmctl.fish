complete --keep-order --exclusive --command kvmctl --arguments "(KVMCTL_COMPLETE=fish kvmctl -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
