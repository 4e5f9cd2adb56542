;; What a language's runtime asks of WASI preview 1, answered by the contract: time and randomness by `clock`, standard
;; output and error by `log`, nothing else. There are no arguments, no environment, no files, no sockets.
;;
;; It has no memory of its own and takes none of the guest's (the stock adapter grows the guest's memory behind the
;; back of Go's allocator, which corrupts it). What it needs lies in the guest's first page, which Go (4096 bytes) and
;; wasm-ld (1024) leave free:
;;
;;    16  where `random` puts its result: address, length
;;    32  a line that is being written: at most 896 bytes, their number in $line
(module
  (import "env" "memory" (memory 0))
  (import "whimbrel:plugin/clock@0.1.0" "now-ns" (func $now (result i64)))
  (import "whimbrel:plugin/clock@0.1.0" "monotonic-ns" (func $monotonic (result i64)))
  (import "whimbrel:plugin/clock@0.1.0" "random" (func $random (param i32 i32)))
  (import "whimbrel:plugin/log@0.1.0" "write" (func $log (param i32 i32 i32 i32 i32)))

  (global $line (mut i32) (i32.const 0))
  ;; Where the bytes of `random` are to go.
  (global $target (mut i32) (i32.const 0))

  ;; The host asks for memory only to hand over random bytes: they go where the guest wants them.
  (func (export "cabi_import_realloc") (param i32 i32 i32 i32) (result i32) (global.get $target))

  ;; No arguments, no environment: counts and sizes are 0.
  (func $none (param $count i32) (param $size i32) (result i32)
    (i32.store (local.get $count) (i32.const 0))
    (i32.store (local.get $size) (i32.const 0))
    (i32.const 0))
  (export "args_sizes_get" (func $none))
  (export "environ_sizes_get" (func $none))
  (func (export "args_get") (param i32 i32) (result i32) (i32.const 0))
  (func (export "environ_get") (param i32 i32) (result i32) (i32.const 0))

  ;; Clock 0 is the wall clock, 1 is monotonic; there is no processor time.
  (func (export "clock_time_get") (param $clock i32) (param i64) (param $result i32) (result i32)
    (if (i32.gt_u (local.get $clock) (i32.const 1)) (then (return (i32.const 28))))
    (i64.store (local.get $result)
      (if (result i64) (local.get $clock) (then (call $monotonic)) (else (call $now))))
    (i32.const 0))
  (func (export "clock_res_get") (param i32) (param $result i32) (result i32)
    (i64.store (local.get $result) (i64.const 1))
    (i32.const 0))

  (func (export "random_get") (param $at i32) (param $left i32) (result i32)
    (local $part i32)
    (block $done
      (loop $more
        (br_if $done (i32.eqz (local.get $left)))
        (local.set $part
          (select (local.get $left) (i32.const 65536) (i32.lt_u (local.get $left) (i32.const 65536))))
        (global.set $target (local.get $at))
        (call $random (local.get $part) (i32.const 16))
        (local.set $at (i32.add (local.get $at) (local.get $part)))
        (local.set $left (i32.sub (local.get $left) (local.get $part)))
        (br $more)))
    (i32.const 0))

  ;; The line so far goes to the log, as an error: runtimes write to standard error what went wrong.
  (func $flush (param $level i32)
    (if (global.get $line)
      (then (call $log (local.get $level) (i32.const 32) (global.get $line) (i32.const 0) (i32.const 0))))
    (global.set $line (i32.const 0)))

  (func $write (param $level i32) (param $at i32) (param $len i32)
    (local $byte i32)
    (block $done
      (loop $more
        (br_if $done (i32.eqz (local.get $len)))
        (local.set $byte (i32.load8_u (local.get $at)))
        (if (i32.eq (local.get $byte) (i32.const 10))
          (then (call $flush (local.get $level)))
          (else
            (i32.store8 offset=32 (global.get $line) (local.get $byte))
            (global.set $line (i32.add (global.get $line) (i32.const 1)))
            (if (i32.eq (global.get $line) (i32.const 896)) (then (call $flush (local.get $level))))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (local.set $len (i32.sub (local.get $len) (i32.const 1)))
        (br $more))))

  ;; 1 is info, 2 is error; vectors are pairs of address and length.
  (func (export "fd_write") (param $fd i32) (param $vectors i32) (param $count i32) (param $result i32) (result i32)
    (local $written i32)
    (if (i32.gt_u (i32.sub (local.get $fd) (i32.const 1)) (i32.const 1)) (then (return (i32.const 8))))
    (block $done
      (loop $more
        (br_if $done (i32.eqz (local.get $count)))
        (call $write
          (select (i32.const 2) (i32.const 4) (i32.eq (local.get $fd) (i32.const 1)))
          (i32.load (local.get $vectors))
          (i32.load offset=4 (local.get $vectors)))
        (local.set $written (i32.add (local.get $written) (i32.load offset=4 (local.get $vectors))))
        (local.set $vectors (i32.add (local.get $vectors) (i32.const 8)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $more)))
    (i32.store (local.get $result) (local.get $written))
    (i32.const 0))

  ;; 0, 1 and 2 are character devices that can be written to; there are no others.
  (func (export "fd_fdstat_get") (param $fd i32) (param $result i32) (result i32)
    (if (i32.gt_u (local.get $fd) (i32.const 2)) (then (return (i32.const 8))))
    (i64.store (local.get $result) (i64.const 2))
    (i64.store offset=8 (local.get $result) (i64.const 64))
    (i64.store offset=16 (local.get $result) (i64.const 0))
    (i32.const 0))
  (func (export "fd_fdstat_set_flags") (param $fd i32) (param i32) (result i32)
    (select (i32.const 8) (i32.const 0) (i32.gt_u (local.get $fd) (i32.const 2))))
  (func (export "fd_prestat_get") (param i32 i32) (result i32) (i32.const 8))

  (func (export "sched_yield") (result i32) (i32.const 0))

  ;; Waiting for time alone: the time is over at once, since nobody else runs meanwhile. A subscription has 48 bytes and
  ;; begins with its number, an event has 32.
  (func (export "poll_oneoff")
    (param $in i32) (param $out i32) (param $count i32) (param $result i32) (result i32)
    (if (i32.eqz (local.get $count)) (then (return (i32.const 28))))
    (if (i32.load8_u offset=8 (local.get $in)) (then (return (i32.const 58))))
    (i64.store (local.get $out) (i64.load (local.get $in)))
    (i64.store offset=8 (local.get $out) (i64.const 0))
    (i64.store offset=16 (local.get $out) (i64.const 0))
    (i64.store offset=24 (local.get $out) (i64.const 0))
    (i32.store (local.get $result) (i32.const 1))
    (i32.const 0))

  ;; An end is a trap: the host gives the instance up, with what stands in the log.
  (func (export "proc_exit") (param i32)
    (call $flush (i32.const 4))
    unreachable)

  ;; Nothing else is there: 8 is EBADF, 58 is ENOTSUP.
  (func (export "fd_advise") (param i32 i64 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_allocate") (param i32 i64 i64) (result i32) (i32.const 8))
  (func (export "fd_close") (param i32) (result i32) (i32.const 8))
  (func (export "fd_datasync") (param i32) (result i32) (i32.const 8))
  (func (export "fd_fdstat_set_rights") (param i32 i64 i64) (result i32) (i32.const 8))
  (func (export "fd_filestat_get") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_filestat_set_size") (param i32 i64) (result i32) (i32.const 8))
  (func (export "fd_filestat_set_times") (param i32 i64 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_pread") (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_prestat_dir_name") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "fd_pwrite") (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_read") (param i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "fd_readdir") (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_renumber") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_seek") (param i32 i64 i32 i32) (result i32) (i32.const 8))
  (func (export "fd_sync") (param i32) (result i32) (i32.const 8))
  (func (export "fd_tell") (param i32 i32) (result i32) (i32.const 8))
  (func (export "path_create_directory") (param i32 i32 i32) (result i32) (i32.const 58))
  (func (export "path_filestat_get") (param i32 i32 i32 i32 i32) (result i32) (i32.const 58))
  (func (export "path_filestat_set_times") (param i32 i32 i32 i32 i64 i64 i32) (result i32) (i32.const 58))
  (func (export "path_link") (param i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 58))
  (func (export "path_open") (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32) (i32.const 58))
  (func (export "path_readlink") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 58))
  (func (export "path_remove_directory") (param i32 i32 i32) (result i32) (i32.const 58))
  (func (export "path_rename") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 58))
  (func (export "path_symlink") (param i32 i32 i32 i32 i32) (result i32) (i32.const 58))
  (func (export "path_unlink_file") (param i32 i32 i32) (result i32) (i32.const 58))
  (func (export "proc_raise") (param i32) (result i32) (i32.const 58))
  (func (export "sock_accept") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "sock_recv") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "sock_send") (param i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "sock_shutdown") (param i32 i32) (result i32) (i32.const 8))
)
