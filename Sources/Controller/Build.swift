/// What this build is.
package enum Build {
    /// The version, as `--version` and the metric `fdbsteer_build_info` tell it.
    package static let version = "0.1.0"
}
