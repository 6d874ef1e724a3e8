import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.Key;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.Provider;
import java.security.SecureRandom;
import java.security.Security;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.List;
import javax.crypto.BadPaddingException;
import javax.crypto.Cipher;
import javax.crypto.spec.IvParameterSpec;
import javax.crypto.spec.SecretKeySpec;

/**
 * What a CLDB does with the library when it starts: take the Core KEK, decrypt cldb.key.enc, check the SHA-256.
 *
 * java CldbStart token SUNPKCS11_SETTINGS ENCRYPTED_KEY SHA256
 * java CldbStart plain KEK ENCRYPTED_KEY SHA256       the same with a key in a plain file, for comparison
 * java CldbStart seal KEK ENCRYPTED_KEY                make the two files that `plain` reads; prints the SHA-256
 *
 * No PIN is given: the token's protected authentication path lets the daemons in. Prints the milliseconds of each step.
 */
class CldbStart {
    public static void main(String[] arguments) throws Exception {
        if (arguments[0].equals("seal")) {
            seal(Path.of(arguments[1]), Path.of(arguments[2]));
            return;
        }
        boolean token = arguments[0].equals("token");
        long began = System.nanoTime();
        Provider provider = token ? Security.getProvider("SunPKCS11").configure(arguments[1]) : null;
        long provided = System.nanoTime();
        KeyStore store = token ? KeyStore.getInstance("PKCS11", provider) : null;
        if (token) {
            store.load(null, null);
        }
        long opened = System.nanoTime();
        List<Key> keks = token ? coreKeks(store)
            : List.of(new SecretKeySpec(Files.readAllBytes(Path.of(arguments[1])), "AES"));
        long found = System.nanoTime();
        byte[] encrypted = Files.readAllBytes(Path.of(arguments[2]));
        String mode = "AES/CBC/PKCS5Padding";
        Cipher cipher = token ? Cipher.getInstance(mode, provider) : Cipher.getInstance(mode);
        boolean same = false;
        for (int i = 0; i < keks.size() && !same; i++) {
            same = opens(cipher, keks.get(i), encrypted, HexFormat.of().parseHex(arguments[3]));
        }
        long decrypted = System.nanoTime();
        System.out.printf("provider %d keystore %d key %d decrypt %d all %d us%n", (provided - began) / 1000,
            (opened - provided) / 1000, (found - opened) / 1000, (decrypted - found) / 1000, (decrypted - began) / 1000);
        System.out.println(same ? "the CLDB key is the recorded one" : "ANOTHER KEY THAN RECORDED");
        System.exit(same ? 0 : 1);
    }

    private static boolean opens(Cipher cipher, Key kek, byte[] encrypted, byte[] recorded) throws Exception {
        cipher.init(Cipher.DECRYPT_MODE, kek, new IvParameterSpec(encrypted, 0, 16));
        byte[] cldbKey;
        try {
            cldbKey = cipher.doFinal(encrypted, 16, encrypted.length - 16);
        } catch (BadPaddingException anotherKek) {
            return false;
        }
        byte[] checksum = MessageDigest.getInstance("SHA-256").digest(cldbKey);
        Arrays.fill(cldbKey, (byte) 0);
        return MessageDigest.isEqual(checksum, recorded);
    }

    /** The present Core KEK, then its former generations: a rekey that was interrupted may have left an older file. */
    private static List<Key> coreKeks(KeyStore store) throws Exception {
        List<String> aliases = new ArrayList<>(Collections.list(store.aliases()));
        aliases.removeIf(name -> !name.matches(".*/core-kek(@[0-9]+)?"));
        aliases.sort(Comparator.comparing(String::length));
        List<Key> keks = new ArrayList<>();
        for (String alias : aliases) {
            keks.add(store.getKey(alias, null));
        }
        return keks;
    }

    private static void seal(Path kekFile, Path blob) throws Exception {
        SecureRandom random = new SecureRandom();
        byte[] kek = new byte[32];
        byte[] cldbKey = new byte[32];
        byte[] iv = new byte[16];
        random.nextBytes(kek);
        random.nextBytes(cldbKey);
        random.nextBytes(iv);
        Files.write(kekFile, kek);
        Cipher cipher = Cipher.getInstance("AES/CBC/PKCS5Padding");
        cipher.init(Cipher.ENCRYPT_MODE, new SecretKeySpec(kek, "AES"), new IvParameterSpec(iv));
        try (OutputStream file = Files.newOutputStream(blob)) {
            file.write(iv);
            file.write(cipher.doFinal(cldbKey));
        }
        byte[] checksum = MessageDigest.getInstance("SHA-256").digest(cldbKey);
        System.out.println(HexFormat.of().withUpperCase().formatHex(checksum));
    }
}
