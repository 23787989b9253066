import Glibc

/// A private libvirtd, with its own folders in place of libvirt's, and `fdbsteer-libvirt-hook` as its hook.
///
/// It runs in the calling thread's network namespace, and in its own mount, UTS and process namespaces. It and every QEMU
/// of it end when this object or this process ends.
package final class LibvirtDaemon {
    /// The folder of its configuration, its socket and its hook's records.
    package let folder: String
    /// The connection URI for virsh.
    package let uri: String
    private let process: SupervisedProcess

    /// The reason why libvirt is not available here; nil if it is.
    package static var obstacle: String? {
        Unpacked.obstacle(
            "libvirt", programs: ["/usr/sbin/libvirtd", "/usr/bin/virsh", "/usr/bin/qemu-system-x86_64"])
    }

    /// Starts libvirtd and waits until it answers.
    ///
    /// - Parameters:
    ///   - name: the host name; two hosts of one migration need different names.
    ///   - number: 0 to 9, part of the host's UUID.
    ///   - folder: an existing folder for this daemon only, not below /run or /var.
    ///   - hook: the path of `fdbsteer-libvirt-hook`.
    ///   - configuration: the hook's configuration.
    /// - Throws: ``LabError``.
    package init(name: String, number: Int, folder: String, hook: String, configuration: String) throws {
        self.folder = folder
        uri = "qemu+unix:///system?socket=\(folder)/run/libvirt-sock"
        try LibvirtDaemon.writeFiles(number: number, folder: folder, hook: hook, configuration: configuration)
        let words = [
            "unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation",
            "private", "sh", "-c", LibvirtDaemon.script, "sh", folder, name,
        ]
        process = try SupervisedProcess(Unpacked.command("libvirt", words), output: folder + "/script")
        try waitForAnswer()
    }

    /// Runs virsh.
    ///
    /// - Throws: ``LabError`` if it cannot be started. The caller judges the exit code.
    package func virsh(_ arguments: String...) throws -> Command {
        try Command.run(Unpacked.command("libvirt", ["virsh", "--connect", uri] + arguments))
    }

    /// Ends libvirtd, but not its QEMUs, and starts it again.
    ///
    /// - Throws: ``LabError``.
    package func restart() throws {
        try TextFile.write("\n", to: folder + "/again")
        try waitForAnswer()
    }

    /// The calls of the hook: `DOMAIN OPERATION SUBOPERATION EXTRA`, then the exit code and the number of bytes printed.
    package var calls: [String] { TextFile.read(folder + "/calls").split(separator: "\n").map(String.init) }

    /// The text that the hook has written to standard error.
    package var hookWords: String { TextFile.read(folder + "/said") }

    /// The domain's XML as the hook got it in its last call with an operation.
    package func xml(of operation: String) -> String { TextFile.read("\(folder)/\(operation).xml") }

    /// libvirtd's log, for failing tests.
    package var log: String {
        TextFile.read(folder + "/script") + TextFile.read(folder + "/libvirtd")
    }

    private func waitForAnswer() throws {
        var said = ""
        for _ in 0..<100 {
            let asked = try virsh("uri")
            if asked.exitCode == 0 { return }
            said = asked.errors
            usleep(200_000)
        }
        throw LabError("libvirtd does not answer: \(said)\(log)")
    }

    /// Mounts its own folders, then runs libvirtd forever; the file `again` restarts it. The shell is the first process of the
    /// namespace, and reaps orphans of libvirtd whenever a `sleep` ends.
    private static let script = """
        set -e
        for place in /run /var/lib /var/log /var/cache; do mount -t tmpfs tmpfs $place; done
        mkdir /run/libvirt
        mount --bind "$1/run" /run/libvirt
        mount --bind "$1/etc" /etc/libvirt
        for file in passwd group; do
            cp /etc/$file "$1/$file"
            grep -q '^libvirt-qemu:' "$1/$file" || case $file in
            passwd) echo 'libvirt-qemu:x:64055:64055::/:/usr/sbin/nologin' ;;
            group) echo 'libvirt-qemu:x:64055:' ;;
            esac >>"$1/$file"
            mount --bind "$1/$file" /etc/$file
        done
        hostname "$2"
        while :; do
            /usr/sbin/libvirtd --config /etc/libvirt/libvirtd.conf >>"$1/libvirtd" 2>&1 &
            child=$!
            until [ -e "$1/again" ]; do sleep 0.1; done
            rm "$1/again"
            kill $child || true
            wait $child || true
        done
        """

    private static func writeFiles(number: Int, folder: String, hook: String, configuration: String) throws {
        for path in ["run", "etc", "etc/hooks", "etc/hooks/qemu.d"] { mkdir("\(folder)/\(path)", 0o755) }
        // It has no cgroups, no virtlogd, and no user except root.
        try TextFile.write(
            """
            user = "root"
            group = "root"
            security_driver = "none"
            namespaces = []
            cgroup_controllers = []
            stdio_handler = "file"
            dynamic_ownership = 0
            remember_owner = 0

            """, to: folder + "/etc/qemu.conf")
        try TextFile.write(
            """
            auth_unix_rw = "none"
            auth_unix_ro = "none"
            host_uuid = "7c2fd5f2-3f4d-4e0a-9d6c-0a64d3a3c1a\(number)"
            log_outputs = "3:stderr"

            """, to: folder + "/etc/libvirtd.conf")
        try TextFile.write(configuration, to: folder + "/hook.conf")
        // Wraps the hook and records its input, its output and its exit code.
        let path = folder + "/etc/hooks/qemu.d/fdbsteer"
        try TextFile.write(
            """
            #!/bin/sh
            cat >"\(folder)/xml"
            FDBSTEER_HOOK_CONFIGURATION="\(folder)/hook.conf" "\(hook)" "$@" \
            <"\(folder)/xml" >"\(folder)/printed" 2>>"\(folder)/said"
            code=$?
            cp "\(folder)/xml" "\(folder)/$2.xml"
            echo "$*: $code, $(wc -c <"\(folder)/printed")" >>"\(folder)/calls"
            cat "\(folder)/printed"
            exit $code

            """, to: path, mode: 0o755)
    }
}
