/// What this build is.
public enum Build {
    /// The version, as `--version` and the metric `fdbsteer_build_info` tell it.
    public static let version = "0.1.0"
}
