
set edit:completion:arg-completer[kvmctl] = { |@words|
    var index = (count $words)
    set index = (- $index 1)

    put (env _CLAP_IFS="\n" _CLAP_COMPLETE_INDEX=(to-string $index) KVMCTL_COMPLETE="elvish" kvmctl -- $@words) | to-lines
}

