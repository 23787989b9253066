import Glibc

/// Stream sockets of the file system (unix(7)).
package enum LocalSocket {
    /// Makes a listening socket that its owner and its group may connect to; the group is the folder's where that passes it on
    /// (mode 2750). One that a process has left at the path is replaced: the caller knows that no other listens there.
    ///
    /// - Returns: a descriptor that does not block.
    /// - Throws: ``SystemError``.
    package static func listen(at path: String) throws(SystemError) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else {
            throw SystemError("the path is too long for a socket", errno: ENAMETOOLONG)
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        var information = stat()
        // Only a socket is replaced.
        if lstat(path, &information) == 0, information.st_mode & S_IFMT == S_IFSOCK { unlink(path) }
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        let descriptor = socket(AF_UNIX, kind, 0)
        guard descriptor >= 0 else { throw SystemError("cannot make a socket", errno: errno) }
        let length = socklen_t(MemoryLayout<sockaddr_un>.size)
        let bound = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, length) }
        }
        // Nobody can connect before it listens.
        guard bound == 0, chmod(path, 0o660) == 0, Glibc.listen(descriptor, 128) == 0 else {
            let code = errno
            close(descriptor)
            throw SystemError("cannot bind a socket", errno: code)
        }
        return descriptor
    }

    /// Watches whether a socket keeps its name (inotify(7)).
    ///
    /// - Returns: a descriptor that is readable when it may have lost it; negative where that cannot be watched.
    package static func watchName(_ path: String) -> Int32 {
        let descriptor = inotify_init1(Int32(IN_NONBLOCK | IN_CLOEXEC))
        _ = inotify_add_watch(descriptor, path, UInt32(IN_ATTRIB | IN_MOVE_SELF))
        return descriptor
    }

    /// There is nothing at a path.
    package static func isMissing(_ path: String) -> Bool { access(path, F_OK) != 0 && errno == ENOENT }

    /// Listens again at a path from which somebody has removed the socket, unless another file is there.
    ///
    /// - Parameter names: the descriptor of ``watchName(_:)``.
    /// - Returns: a descriptor as of ``listen(at:)``; nil where nothing is to be done, or, as ``isMissing(_:)`` tells, nothing can be.
    package static func listenAgain(at path: String, _ names: Int32) -> Int32? {
        withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 8) { buffer in
            while read(names, buffer.baseAddress, buffer.count) > 0 {}
        }
        guard isMissing(path), let descriptor = try? listen(at: path) else { return nil }
        _ = inotify_add_watch(names, path, UInt32(IN_ATTRIB | IN_MOVE_SELF))
        return descriptor
    }
}

extension LocalSocket {
    /// The path of a socket still leads to one: nobody has removed it.
    fileprivate static func isReachable(_ descriptor: Int32) -> Bool {
        var address = sockaddr_un()
        var length = socklen_t(MemoryLayout<sockaddr_un>.size)
        let known = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
        }
        guard known == 0 else { return false }
        let path = withUnsafeBytes(of: &address.sun_path) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        var information = stat()
        return lstat(path, &information) == 0 && information.st_mode & S_IFMT == S_IFSOCK
    }
}

/// Listening sockets that the service manager hands over (sd_listen_fds(3)), without its library.
package enum ServiceSockets {
    /// The only one; nil when there is none, or several, or nobody can reach it any more.
    ///
    /// - Parameters: the values of `LISTEN_PID` and `LISTEN_FDS`.
    package static func only(
        process: String? = Environment.value("LISTEN_PID"), count: String? = Environment.value("LISTEN_FDS")
    ) -> Int32? {
        guard process == "\(getpid())", count == "1" else { return nil }
        let first: Int32 = 3
        var isListening: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        guard getsockopt(first, SOL_SOCKET, SO_ACCEPTCONN, &isListening, &length) == 0, isListening != 0,
            LocalSocket.isReachable(first)
        else { return nil }
        _ = fcntl(first, F_SETFD, FD_CLOEXEC)
        _ = fcntl(first, F_SETFL, fcntl(first, F_GETFL) | O_NONBLOCK)
        return first
    }
}
