import Glibc
import Lab
import Testing

extension LabVMTests {
    /// fdbsteerd as its unit lets it be scheduled. A machine on which tests run may permit nobody to raise the limit.
    @Suite(.serialized)
    struct SchedulingTests {
        /// The policies of a process's threads, its first one's first (proc_pid_stat(5), field 41).
        private static func policies(_ process: pid_t) throws -> [String] {
            let tasks = try Command.run(["ls", "/proc/\(process)/task"]).output.split(separator: "\n").compactMap {
                pid_t($0)
            }
            return tasks.sorted().map { task in
                // The second field, the name, may have spaces and ends with the last parenthesis.
                let status = TextFile.read("/proc/\(process)/task/\(task)/stat").split(separator: ")").last ?? ""
                let fields = status.split(separator: " ")
                return fields.count > 38 ? String(fields[38]) : "?"
            }
        }

        @Test(arguments: [0, 1]) func theThreadThatRedirectsIsScheduledInRealTimeWherePermitted(limit: Int) throws {
            let folder = try TemporaryFolder()
            defer { folder.remove() }
            let programs = getenv("FDBSTEER_BIN").map { String(cString: $0) } ?? "."
            let daemon = try RunningCommand([
                "prlimit", "--rtprio=\(limit):\(limit)", "\(programs)/fdbsteerd", "--state", folder.path,
            ])
            let process = daemon.process
            for _ in 0..<1000 where !daemon.errorsSoFar.contains("msg=watching") { usleep(10_000) }
            let policies = try Self.policies(process)
            kill(process, SIGTERM)
            let ended = daemon.wait()
            #expect(ended.exitCode == 0 && ended.errors.contains("serving metrics"), "\(ended.errors)")
            // SCHED_OTHER is 0 and SCHED_RR 2.
            #expect(policies.count > 1 && policies.first == (limit == 0 ? "0" : "2"), "\(policies)")
            #expect(policies.dropFirst().allSatisfy { $0 == "0" }, "metrics wait: \(policies)")
        }
    }
}
