//! Every environment variable that kvmctl reads, in one list, from which its documentation is made.

/// A variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it does, for a manual page.
    pub about: &'static str,
}

macro_rules! variables {
    ($($konst:ident = $name:literal: $about:literal;)*) => {
        $(
            #[doc = concat!("`", $name, "`: ", $about, ".")]
            pub const $konst: Variable = Variable { name: $name, about: $about };
        )*

        /// All of them, in the order of the manual page.
        pub const ALL: &[Variable] = &[$($konst),*];
    };
}

variables! {
    CONTEXT = "KVMCTL_CONTEXT": "context to use, instead of the file's current one";
    URI = "KVMCTL_URI": "libvirt to connect to, instead of the context's";
    LIBVIRT_URI = "LIBVIRT_DEFAULT_URI": "libvirt to connect to when neither a context nor KVMCTL_URI is named; virsh reads it too";
    ACCELERATOR = "KVMCTL_ACCELERATOR": "auto, kvm or tcg, instead of the context's";
    STORE = "KVMCTL_STORE": "directory of the store, instead of the context's";
    CONFIG = "KVMCTL_CONFIG": "file of contexts, instead of $XDG_CONFIG_HOME/kvmctl/config.yaml";
}

/// Reads a variable; an empty one is as if it were not set.
pub fn read(variable: Variable) -> Option<String> {
    std::env::var_os(variable.name)
        .map(|value| value.to_string_lossy().into_owned())
        .filter(|value| !value.is_empty())
}
